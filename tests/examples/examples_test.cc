// The examples as a user runs them: programs of the build, started in a scratch directory.
#include "../../examples/demo/child.h"
#include "support/scratch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace cairn {
namespace {

namespace fs = std::filesystem;
using demo::Child;
using demo::Clock;

struct Outcome {
  int exit_code = -1;  // -1: ended by a signal.
  std::string output = {};
};

class Examples : public ::testing::Test {
 protected:
  static fs::path programs() { return fs::path(CAIRN_TEST_BIN_DIR).parent_path(); }
  static std::string example(const std::string& name) { return programs() / "examples" / name; }

  // Reads until `text` occurs or the output ends; everything read.
  static std::string read_until(Child& child, const std::string& text) {
    std::string output;
    while (output.find(text) == std::string::npos) {
      const auto bytes = child.read(Clock::now() + std::chrono::minutes(1));
      if (!bytes) ADD_FAILURE() << "nothing written for a minute, after:\n" << output;
      if (!bytes || bytes->empty()) break;
      output += *bytes;
    }
    return output;
  }

  static Outcome run(const std::vector<std::string>& command) {
    Child child(command);
    Outcome outcome;
    for (;;) {
      const auto bytes = child.read(Clock::now() + std::chrono::minutes(2));
      if (!bytes) ADD_FAILURE() << command[0] << " hangs";
      if (!bytes || bytes->empty()) break;
      outcome.output += *bytes;
    }
    const int status = child.wait();
    if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
    return outcome;
  }

  static std::string contents(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    EXPECT_TRUE(in.good()) << file;
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // A text of its own: the documentation changes.
  std::string text() {
    const fs::path file = scratch_ / "text.md";
    std::ofstream out(file);
    for (int i = 0; i < 500; ++i) out << "The square of " << i << " is " << i * i << ". ";
    return file;
  }

  std::vector<std::string> train(const fs::path& store, int text_bytes = 3000, int epochs = 2) {
    return {example("train"),
            "--store",
            store,
            "--text",
            text(),
            "--text-bytes",
            std::to_string(text_bytes),
            "--epochs",
            std::to_string(epochs),
            "--save-every",
            "2"};
  }
  std::vector<std::string> demo(const fs::path& bin) {
    fs::create_directory(scratch_ / "demo");
    return {example("demo"),
            "--programs",
            bin,
            "--directory",
            scratch_ / "demo",
            "--text",
            text(),
            "--text-bytes",
            "4500",
            "--epochs",
            "2",
            "--save-every",
            "2",
            "--kills",
            "5"};
  }

  testing::ScratchDirectory scratch_;
};

TEST_F(Examples, QuickstartGoesOnWhereItWasKilled) {
  // It is killed where it can't go on: its output goes to a pipe that has room for a few lines.
  const fs::path pipe = scratch_ / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const int output = ::open(pipe.c_str(), O_RDWR | O_CLOEXEC);
  ASSERT_GE(output, 0);
  const int capacity = ::fcntl(output, F_SETPIPE_SZ, 1);  // gives the least that there is, a page
  ASSERT_GT(capacity, 128);
  const std::string filler(static_cast<std::size_t>(capacity - 128), '.');
  ASSERT_EQ(::write(output, filler.data(), filler.size()), static_cast<ssize_t>(filler.size()));

  const std::vector<std::string> command = {example("quickstart"), scratch_ / "store"};
  Child first({"/bin/sh", "-c", R"(exec "$0" "$1" > "$2")", command[0], command[1], pipe});
  const auto deadline = Clock::now() + std::chrono::minutes(1);
  int pending = 0;
  while (pending < capacity - 32) {  // a line has less
    ASSERT_LT(Clock::now(), deadline) << pending << " of " << capacity << " bytes";
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ASSERT_EQ(::ioctl(output, FIONREAD, &pending), 0);
  }
  first.kill();
  ASSERT_TRUE(WIFSIGNALED(first.wait()));
  std::string written(static_cast<std::size_t>(pending), '\0');
  ASSERT_EQ(::read(output, written.data(), written.size()), pending);
  ::close(output);
  ASSERT_NE(written.find("epoch 3,"), std::string::npos) << written;

  const Outcome second = run(command);
  EXPECT_EQ(second.exit_code, 0) << second.output;
  // LibTorch's log may stand before it: the kill may have cut a commit short.
  EXPECT_LT(second.output.find("resumed from "), second.output.find(", loss")) << second.output;
  EXPECT_EQ(second.output.find("epoch 1,"), std::string::npos) << second.output;
  EXPECT_NE(second.output.find("epoch 100"), std::string::npos) << second.output;

  const Outcome third = run(command);
  EXPECT_EQ(third.exit_code, 0) << third.output;
  EXPECT_NE(third.output.find("epoch 100\n"), std::string::npos) << third.output;
  EXPECT_EQ(third.output.find(", loss"), std::string::npos) << third.output;
}

TEST_F(Examples, WhatTheWalkthroughClaimsHolds) {
  const Outcome outcome = run({example("walkthrough"), scratch_ / "stores"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("All of it holds."), std::string::npos) << outcome.output;
}

TEST_F(Examples, TheWalkthroughFailsWhenAClaimDoesNotHold) {
  // It claims that its stores are new, which they are not the second time.
  ASSERT_EQ(run({example("walkthrough"), scratch_ / "stores"}).exit_code, 0);
  const Outcome outcome = run({example("walkthrough"), scratch_ / "stores"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_NE(outcome.output.find("DOES NOT HOLD: a new store has nothing to resume from"),
            std::string::npos)
      << outcome.output;
}

TEST_F(Examples, KilledTrainingEndsWithTheSameBits) {
  const Outcome outcome = run(demo(programs()));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("killed 5 times"), std::string::npos) << outcome.output;
}

TEST_F(Examples, TheDemoFailsWhenTheRunsDiffer) {
  // Stands in for `train`, with another seed for every store.
  const fs::path bin = scratch_ / "bin";
  fs::create_directories(bin / "examples");
  fs::create_symlink(programs() / "cairn", bin / "cairn");
  const fs::path impostor = bin / "examples" / "train";
  std::ofstream(impostor) << "#!/bin/sh\nexec '" << example("train")
                          << "' \"$@\" --seed $(echo \"$2\" | cksum | cut -d ' ' -f 1)\n";
  fs::permissions(impostor, fs::perms::owner_all);

  const Outcome outcome = run(demo(bin));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_NE(outcome.output.find("the loss of step 1 differs"), std::string::npos) << outcome.output;
}

TEST_F(Examples, TrainingSavesWhenAskedToStopAndGoesOnWithTheSameBits) {
  // Long enough not to be over before the signal comes, on a busy machine, too.
  const auto command_for = [this](const std::string& name) {
    auto command = train(scratch_ / name, 3000, /*epochs=*/5);
    command.insert(command.end(), {"--parameters", scratch_ / (name + ".parameters")});
    return command;
  };
  ASSERT_EQ(run(command_for("undisturbed")).exit_code, 0);
  {
    Child child(command_for("stopped"));
    read_until(child, "saved");
    child.kill(SIGTERM);
    const std::string rest = read_until(child, "start again");
    EXPECT_NE(rest.find("start again"), std::string::npos) << rest;
    EXPECT_EQ(child.wait(), 0);
  }
  const Outcome outcome = run(command_for("stopped"));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("resumed from step-"), std::string::npos) << outcome.output;
  EXPECT_EQ(contents(scratch_ / "stopped.parameters"),
            contents(scratch_ / "undisturbed.parameters"));
}

TEST_F(Examples, ASecondTrainingJobIsTurnedAway) {
  // The first must not come to its end before the second has begun.
  const auto command = train(scratch_ / "store", 3000, /*epochs=*/100'000);
  Child first(command);
  ASSERT_NE(read_until(first, "saved").find("saved"), std::string::npos);
  const Outcome second = run(command);
  EXPECT_EQ(second.exit_code, 1) << second.output;
  EXPECT_NE(second.output.find("busy"), std::string::npos) << second.output;
}

TEST_F(Examples, TrainingOnATextOfAnotherLengthIsRefused) {
  ASSERT_EQ(run(train(scratch_ / "store")).exit_code, 0);
  const Outcome outcome = run(train(scratch_ / "store", 2900));
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_NE(outcome.output.find("text"), std::string::npos) << outcome.output;
}

TEST_F(Examples, TrainingWithoutTextSaysSo) {
  const Outcome outcome =
      run({example("train"), "--store", scratch_ / "store", "--text", scratch_ / "absent"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.output;
  EXPECT_NE(outcome.output.find("--text"), std::string::npos) << outcome.output;
}

}  // namespace
}  // namespace cairn
