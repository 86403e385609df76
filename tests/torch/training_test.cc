// Parts of a training loop: when to save, when to stop.
#include "support.h"

#include <chrono>
#include <cmath>
#include <limits>
#include <signal.h>

namespace cairn::testing {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

TEST(SaveInterval, IsDueEverySoManySteps) {
  SaveInterval interval({.steps = 3});
  std::vector<bool> due;
  for (int step = 0; step < 7; ++step) due.push_back(interval.due());
  EXPECT_EQ(due, (std::vector<bool>{false, false, true, false, false, true, false}));
}

TEST(SaveInterval, IsDueAfterSoManyMinutesAndThenCountsAnew) {
  std::chrono::steady_clock::time_point now{};
  SaveInterval interval({.steps = 100, .minutes = 5}, [&] { return now; });
  now += minutes(5) - seconds(1);
  EXPECT_FALSE(interval.due());
  now += seconds(1);
  EXPECT_TRUE(interval.due());
  now += minutes(4);
  EXPECT_FALSE(interval.due());
}

TEST(SaveInterval, NeedsStepsOrMinutes) {
  EXPECT_EQ(error_of([] { SaveInterval interval({}); }).code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([] { SaveInterval interval({.steps = -1}); }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([] { SaveInterval interval({.minutes = std::nan("")}); }).code(),
            ErrorCode::kInvalidArgument);
}

TEST(StopSignal, RemembersASignalInsteadOfDyingOfIt) {
  const StopSignal stop;
  EXPECT_FALSE(stop.requested());
  raise(SIGTERM);
  EXPECT_TRUE(stop.requested());
  EXPECT_EQ(stop.signal(), SIGTERM);
  raise(SIGUSR1);
  EXPECT_EQ(stop.signal(), SIGUSR1);
}

volatile sig_atomic_t handled_before = 0;

TEST(StopSignal, GivesSignalsBack) {
  struct sigaction own = {};
  own.sa_handler = [](int) { handled_before = handled_before + 1; };
  struct sigaction original = {};
  sigaction(SIGUSR1, &own, &original);
  {
    const StopSignal stop({SIGUSR1});
    raise(SIGUSR1);
    EXPECT_TRUE(stop.requested());
  }
  EXPECT_EQ(handled_before, 0);
  raise(SIGUSR1);
  EXPECT_EQ(handled_before, 1);
  sigaction(SIGUSR1, &original, nullptr);
}

TEST(StopSignal, IsOneAtATimeAndOfSignalsOnly) {
  {
    const StopSignal stop({SIGUSR1});
    EXPECT_EQ(error_of([] { StopSignal second; }).code(), ErrorCode::kAlreadyExists);
  }
  EXPECT_EQ(error_of([] {
              StopSignal wrong({SIGUSR1, 4711});
            }).code(),
            ErrorCode::kInvalidArgument);
  const StopSignal after_all_that;
  EXPECT_FALSE(after_all_that.requested());
}

std::vector<bool> stops(EarlyStopping& stopping, const std::vector<double>& metrics) {
  std::vector<bool> out;
  for (const double metric : metrics) {
    stopping.update(metric);
    out.push_back(stopping.should_stop());
  }
  return out;
}

TEST(EarlyStopping, StopsWhenPatienceIsOver) {
  EarlyStopping stopping({.patience = 2});
  EXPECT_EQ(stops(stopping, {3, 2, 2, 1, 1, 1}),
            (std::vector<bool>{false, false, false, false, false, true}));
  EXPECT_EQ(stopping.best(), 1);
}

TEST(EarlyStopping, WaitsForTheWarmUp) {
  EarlyStopping stopping({.patience = 1, .warm_up = 3});
  EXPECT_EQ(stops(stopping, {1, 2, 3, 4}), (std::vector<bool>{false, false, false, true}));
}

TEST(EarlyStopping, CountsOnlyWhatIsBetterByEnough) {
  EarlyStopping stopping({.patience = 5, .min_delta = 0.5, .maximize = true});
  EXPECT_TRUE(stopping.update(1.0));
  EXPECT_FALSE(stopping.update(1.5));
  EXPECT_TRUE(stopping.update(1.6));
  EXPECT_FALSE(stopping.update(std::nan("")));
  EXPECT_EQ(stopping.best(), 1.6);
}

TEST(EarlyStopping, GoesOnCountingAfterARestart) {
  const ScratchDirectory dir;
  EarlyStopping stopping({.patience = 2});
  stops(stopping, {1, 2});
  Checkpointer(dir / "store").add_recoverable("stopping", stopping).save_checkpoint();
  EarlyStopping resumed({.patience = 2});
  Checkpointer(dir / "store").add_recoverable("stopping", resumed).recover_if_possible();
  EXPECT_EQ(resumed.best(), 1);
  EXPECT_EQ(stops(resumed, {2}), std::vector<bool>{true});
}

TEST(EarlyStopping, ReturnsToTheBest) {
  const ScratchDirectory dir;
  std::int64_t model = 0;
  EarlyStopping stopping({.patience = 2});
  Checkpointer checkpointer(dir / "store");
  checkpointer.add_recoverable("model", model).add_recoverable("stopping", stopping);
  const std::vector<double> losses{3, 1, 2, 2, 2};
  for (std::size_t epoch = 0; epoch < losses.size() && !stopping.should_stop(); ++epoch) {
    model = static_cast<std::int64_t>(epoch);
    stopping.update(losses[epoch]);
    checkpointer.save_and_keep_only({.meta = {{"loss", losses[epoch]}}},
                                    {.num_to_keep = 1, .min_keys = {"loss"}});
  }
  EXPECT_EQ(model, 3);
  checkpointer.load_checkpoint(*checkpointer.find_checkpoint({.min_key = "loss"}),
                               {.only = {"model"}});
  EXPECT_EQ(model, 1);
  EXPECT_TRUE(stopping.should_stop());
}

TEST(SavesWithinAnEpoch, RotateAmongThemselvesOnly) {
  const ScratchDirectory dir;
  std::int64_t step = 0;
  Checkpointer checkpointer(dir / "store");
  checkpointer.add_recoverable("step", step);
  const auto save = [&](const std::string& name, bool end_of_epoch) {
    checkpointer.save_and_keep_only(
        {.end_of_epoch = end_of_epoch, .name = name},
        {.num_to_keep = end_of_epoch ? 2 : 1,
         .ckpt_predicate = end_of_epoch ? saved_at_end_of_epoch : saved_within_epoch});
  };
  for (const std::string epoch : {"1", "2", "3"}) {
    save("within-" + epoch + "a", false);
    save("within-" + epoch + "b", false);
    save("epoch-" + epoch, true);
  }
  std::vector<std::string> names;
  for (const CheckpointInfo& info : checkpointer.list_checkpoints()) names.push_back(info.name);
  EXPECT_EQ(names, (std::vector<std::string>{"epoch-3", "within-3b", "epoch-2"}));
}

TEST(EarlyStopping, NeedsSomePatience) {
  EXPECT_EQ(error_of([] { EarlyStopping stopping({.patience = 0}); }).code(),
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace cairn::testing
