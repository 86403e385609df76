// A training job in a process of its own, so that another process, built against the same LibTorch
// or another, can go on with it:
//
//   training_job_main write DIR   trains with each optimizer, saves in the middle of an epoch as
//                                 "middle", goes on, and saves again as "end"
//   training_job_main check DIR   resumes each from "middle" and goes on. Under the LibTorch that
//                                 wrote it everything must be as in "end", bit for bit; under
//                                 another, what was loaded must be as in "middle", bit for bit, and
//                                 the losses that follow must be close
//   training_job_main find STORE  the newest checkpoint's name and its first rows of weights
#include "training_job.h"

#include <cmath>
#include <filesystem>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::testing {
namespace {

constexpr int kStepsBefore = 6;  // Four make an epoch.
constexpr int kStepsAfter = 5;   // Into the next one.

// The first difference between two checkpoints, or nothing; "epochs" counts anew where it resumes.
std::string difference(const Checkpoint& a, const Checkpoint& b) {
  if (a.tensors().size() != b.tensors().size()) return "other tensors";
  for (std::size_t i = 0; i < a.tensors().size(); ++i) {
    const TensorInfo& info = a.tensors()[i];
    const std::string name = std::string(info.recoverable) + "/" + std::string(info.key);
    const auto found = b.find_tensor(info.recoverable, info.key);
    if (!found) return name + " is only in one";
    if (b.tensors()[*found].dtype != info.dtype) return name + " has another dtype";
    if (a.read(i) != b.read(*found)) return name + " has other bytes";
  }
  for (const std::string& name : a.info().recoverables) {
    if (name != "epochs" && a.values(name) != b.values(name)) return name + " has other values";
  }
  return {};
}

Checkpoint open(const Checkpointer& checkpointer, std::string_view name) {
  return checkpointer.store().open(checkpointer.store().find_by_name(name).value().id);
}

void write(const std::filesystem::path& store, const std::string& optimizer) {
  TrainingJob job(optimizer, 1);
  Checkpointer checkpointer(store);
  job.register_in(checkpointer);
  job.run(kStepsBefore);
  checkpointer.save_checkpoint(
      {.meta = {{"torch", TORCH_VERSION}}, .end_of_epoch = false, .name = "middle"});
  MetaValue::List losses;
  for (const double loss : job.run(kStepsAfter)) losses.emplace_back(loss);
  checkpointer.save_checkpoint({.meta = {{"losses", losses}}, .name = "end"});
}

std::string check(const std::filesystem::path& store, const std::string& optimizer) {
  TrainingJob job(optimizer, 2);
  job.run(1);  // State that the load must replace.
  job.average.clear();
  job.gradients.clear();
  Checkpointer checkpointer(store);
  job.register_in(checkpointer);
  const CheckpointInfo middle = open(checkpointer, "middle").info();
  checkpointer.load_checkpoint(middle);
  checkpointer.save_checkpoint({.end_of_epoch = false, .name = "loaded", .replace = true});
  std::string found = difference(open(checkpointer, "middle"), open(checkpointer, "loaded"));
  if (!found.empty()) return "after loading: " + found;

  job.epochs.next();  // The unfinished epoch runs again.
  const std::vector<double> losses = job.run(kStepsAfter);
  const Checkpoint end = open(checkpointer, "end");
  const bool same_torch = middle.meta.get("torch") == TORCH_VERSION;
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const double wanted = end.info().meta.get("losses")->as_list().at(i).as_double();
    if (same_torch ? losses[i] != wanted
                   : !(std::abs(losses[i] - wanted) <= 1e-3 * (1 + std::abs(wanted)))) {
      return "loss " + std::to_string(i) + " is " + std::to_string(losses[i]) + ", not " +
             std::to_string(wanted);
    }
  }
  if (job.epochs.current() != end.values("epochs").at("epoch").as_int()) return "other epoch";
  if (!same_torch) return {};
  checkpointer.save_checkpoint({.name = "again", .replace = true});
  found = difference(end, open(checkpointer, "again"));
  return found.empty() ? found : "after going on: " + found;
}

void find(const std::filesystem::path& store) {
  const Checkpointer finder(store, {.read_only = true});
  const CheckpointInfo newest = finder.find_checkpoint().value();
  std::cout << newest.name << " " << read_rows(finder.open(newest), "model/0.weight", 0, 2).numel()
            << std::endl;
}

int main(const std::string& verb, const std::filesystem::path& path) {
  at::set_num_threads(1);  // Sums come out in the same order every time.
  if (verb == "find") {
    find(path);
    return 0;
  }
  int failures = 0;
  for (const std::string& optimizer : optimizer_names()) {
    if (verb == "write") {
      write(path / optimizer, optimizer);
    } else if (const std::string problem = check(path / optimizer, optimizer); !problem.empty()) {
      std::cout << optimizer << ": " << problem << std::endl;
      ++failures;
    }
  }
  std::cout << verb << " under " TORCH_VERSION ": " << optimizer_names().size() << " jobs, "
            << failures << " failed" << std::endl;
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cairn::testing

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: training_job_main write|check DIR, or find STORE" << std::endl;
    return 2;
  }
  try {
    return cairn::testing::main(argv[1], argv[2]);
  } catch (const std::exception& error) {
    std::cerr << "training_job_main: " << error.what() << std::endl;
    return 1;
  }
}
