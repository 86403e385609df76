// Asynchronous saves of a training job: training goes on at once, and what is saved is what was.
#include "support.h"

namespace cairn::testing {
namespace {

struct Job {
  explicit Job(std::uint64_t seed) : net(make_net(seed)), adam(net->parameters(), 0.05) {}
  void register_in(Checkpointer& checkpointer) {
    checkpointer.add_recoverable("model", net).add_recoverable("optimizer", adam);
  }

  torch::nn::Sequential net;
  torch::optim::Adam adam;
};

TEST(AsyncCheckpoints, HoldTheStateAtTheCallThoughTrainingGoesOn) {
  const ScratchDirectory scratch;
  Job job(1);
  Checkpointer checkpointer(scratch / "store");
  job.register_in(checkpointer);
  std::vector<std::vector<at::Tensor>> after_step;
  std::vector<SaveFuture<SaveResult>> saves;
  for (int step = 0; step < 5; ++step) {
    train_step(job.net, job.adam, step);
    after_step.push_back(bits_of(*job.net));
    saves.push_back(checkpointer.save_checkpoint_async({.name = "step-" + std::to_string(step)}));
  }
  for (std::size_t step = 0; step < saves.size(); ++step) {
    const CheckpointInfo saved = saves[step].get().saved;
    checkpointer.load_checkpoint(saved);
    EXPECT_TRUE(same_bits(bits_of(*job.net), after_step[step])) << saved.name;
  }
}

TEST(AsyncCheckpoints, ResumeToTheSameBits) {
  const ScratchDirectory scratch;
  Job undisturbed(1);
  {
    Job job(1);
    Checkpointer checkpointer(scratch / "store");
    job.register_in(checkpointer);
    for (int step = 0; step < 3; ++step) train_step(job.net, job.adam, step);
    checkpointer.save_checkpoint_async();
    train_step(job.net, job.adam, 3);  // lost with the process; the destructor waits for the save
  }
  Job resumed(2);
  Checkpointer checkpointer(scratch / "store");
  resumed.register_in(checkpointer);
  ASSERT_TRUE(checkpointer.recover_if_possible());
  for (int step = 0; step < 6; ++step) train_step(undisturbed.net, undisturbed.adam, step);
  for (int step = 3; step < 6; ++step) train_step(resumed.net, resumed.adam, step);
  EXPECT_TRUE(same_bits(bits_of(*undisturbed.net), bits_of(*resumed.net)));
}

TEST(AsyncCheckpoints, KeepOnlyTellsWhatItKeptAndDeletedAndWhy) {
  const ScratchDirectory scratch;
  Job job(1);
  Checkpointer checkpointer(scratch / "store");
  job.register_in(checkpointer);
  for (const double loss : {3.0, 1.0}) {
    train_step(job.net, job.adam, 0);
    checkpointer.save_checkpoint({.meta = {{"loss", loss}}});
  }
  train_step(job.net, job.adam, 1);
  auto saving = checkpointer.save_and_keep_only_async({.meta = {{"loss", 2.0}}, .name = "last"},
                                                      {.keep_recent = false, .min_keys = {"loss"}});
  const SaveAndKeepResult done = saving.get();
  EXPECT_EQ(done.saved.name, "last");
  ASSERT_EQ(done.kept.size(), 1U);
  EXPECT_EQ(done.kept.front().checkpoint.name, "ckpt-2");
  EXPECT_EQ(done.kept.front().rule, "best 1 by min loss");
  ASSERT_EQ(done.deleted.size(), 2U);
  EXPECT_EQ(checkpointer.list_checkpoints().size(), 1U);
}

TEST(AsyncCheckpoints, AreSkippedOrWaitedForAsAsked) {
  const ScratchDirectory scratch;
  Job job(1);
  Checkpointer checkpointer(scratch / "store");
  job.register_in(checkpointer);
  std::size_t saved = 0;
  for (int step = 0; step < 10; ++step) {
    train_step(job.net, job.adam, step);
    auto saving = checkpointer.save_and_keep_only_async({}, {.num_to_keep = 100},
                                                        {.back_pressure = BackPressure::kSkip});
    if (!saving.skipped()) ++saved;
  }
  checkpointer.save_checkpoint();  // comes after all of them
  EXPECT_EQ(checkpointer.list_checkpoints().size(), saved + 1);
}

}  // namespace
}  // namespace cairn::testing
