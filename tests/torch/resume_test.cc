// Other processes: one that goes on with a job, and one that looks on while it runs.
#include "../../examples/demo/child.h"
#include "support.h"
#include "training_job.h"

#include <chrono>
#include <string>
#include <utility>

namespace cairn::testing {
namespace {

// What the program printed, and its exit code (-1: ended by a signal).
std::pair<std::string, int> run(const std::string& verb, const std::filesystem::path& path) {
  demo::Child child({CAIRN_TEST_BIN_DIR "/training_job_main", verb, path});
  std::string output;
  for (;;) {
    const auto bytes = child.read(demo::Clock::now() + std::chrono::minutes(5));
    if (!bytes) ADD_FAILURE() << verb << " hangs";
    if (!bytes || bytes->empty()) break;
    output += *bytes;
  }
  const int status = child.wait();
  return {output, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

TEST(Resume, InAnotherProcessContinuesBitForBitWithEveryOptimizer) {
  const ScratchDirectory dir;
  const auto written = run("write", dir.path());
  ASSERT_EQ(written.second, 0) << written.first;
  const auto checked = run("check", dir.path());
  EXPECT_EQ(checked.second, 0) << checked.first;
  EXPECT_TRUE(mentions(checked.first, {std::to_string(optimizer_names().size()) + " jobs"}));
}

TEST(Finder, InAnotherProcessSeesEachSaveWhileTheJobRuns) {
  const ScratchDirectory dir;
  TrainingJob job("Adam", 1);
  Checkpointer checkpointer(dir / "store");
  job.register_in(checkpointer);
  for (const std::string name : {"first", "second"}) {
    job.run(1);
    checkpointer.save_and_keep_only({.name = name}, {.num_to_keep = 1});
    EXPECT_EQ(run("find", dir / "store"), std::pair(name + " 8\n", 0));
  }
}

}  // namespace
}  // namespace cairn::testing
