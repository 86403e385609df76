// What the code blocks of the pages run in: directories of their own, and the training job that the
// pages take for granted.
#pragma once

#include "support/scratch.h"

#include <cairn/torch/checkpointer.h>
#include <cairn/torch/training.h>

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <csignal>
#include <cstdint>
#include <filesystem>
#include <string>

namespace cairn::docs {

/// One epoch and one step of training on data that is the same every time; the loss.
double train_step(torch::nn::Linear& model, torch::optim::Optimizer& optimizer);
double train_epoch(torch::nn::Linear& model, torch::optim::Optimizer& optimizer);
double validate(torch::nn::Linear& model);

/// Runs a command with the build's programs in PATH; what it writes to stdout.
std::string output_of(const std::string& command);
/// Runs a script by bash, stopping at the first command that fails; that fails the test.
void run_shell(const std::string& script);

namespace fixtures {

// What blocks may call without saying where it comes from, as they would call their own.
using docs::output_of;
using docs::run_shell;
using docs::train_epoch;
using docs::train_step;
using docs::validate;

/// An empty directory, which is the current one.
class Page : public ::testing::Test {
 protected:
  Page() { std::filesystem::current_path(scratch_.path()); }
  ~Page() override { std::filesystem::current_path(before_); }

 private:
  std::filesystem::path before_ = std::filesystem::current_path();
  testing::ScratchDirectory scratch_;
};

/// The parts of a job: a model, an optimizer, and how long to train.
class Job : public Page {
 protected:
  Job() { torch::manual_seed(1); }

  torch::nn::Linear model{2, 1};
  torch::optim::Adam optimizer{model->parameters(), 0.1};
  EpochCounter epochs{5};
};

/// A job that has a checkpointer and saved nothing yet.
class Training : public Job {
 protected:
  Training() {
    checkpointer.add_recoverable("model", model)
        .add_recoverable("optimizer", optimizer)
        .add_recoverable("epochs", epochs);
  }

  Checkpointer checkpointer{"runs/a"};
};

/// A job that has run: five epochs in runs/a, whose store nobody has open. The third has the
/// smallest loss; the even ones were validated in full.
class Finished : public Job {
 protected:
  Finished();
};

/// checkpoint.pt, as Python's torch.save wrote it.
class TorchFile : public Page {
 protected:
  TorchFile() {
    std::filesystem::copy_file(CAIRN_SOURCE_DIR "/tests/interop/torch_files/state-1.13-zip.pt",
                               "checkpoint.pt");
  }
};

/// A job that runs on, and is asked to stop during its third step.
class Preempted : public Training {
 protected:
  double train_step(torch::nn::Linear& net, torch::optim::Optimizer& optim) {
    if (++steps_ == 3) std::raise(SIGTERM);
    return docs::train_step(net, optim);
  }

 private:
  int steps_ = 0;
};

}  // namespace fixtures
}  // namespace cairn::docs
