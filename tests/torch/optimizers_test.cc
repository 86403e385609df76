// Optimizers and schedulers: a resumed job goes on as if nothing had happened.
#include "support.h"

#include <functional>
#include <memory>

namespace cairn::testing {
namespace {

namespace optim = torch::optim;

struct OptimizerCase {
  std::string name;
  std::function<std::unique_ptr<optim::Optimizer>(std::vector<at::Tensor>)> make;
};
void PrintTo(const OptimizerCase& value, std::ostream* out) {
  *out << value.name;
}

class Resume : public ::testing::TestWithParam<OptimizerCase> {};

TEST_P(Resume, ContinuesBitForBit) {
  ScratchDirectory dir;
  auto net = make_net(1);
  auto optimizer = GetParam().make(net->parameters());
  for (int step = 0; step < 3; ++step) train_step(net, *optimizer, step);
  Checkpointer(dir / "store")
      .add_recoverable("model", net)
      .add_recoverable("optimizer", *optimizer)
      .save_checkpoint();
  for (int step = 3; step < 6; ++step) train_step(net, *optimizer, step);

  // A new process would have other addresses, other weights, and may have trained before.
  auto again = make_net(2);
  auto resumed = GetParam().make(again->parameters());
  train_step(again, *resumed, 17);
  ASSERT_TRUE(Checkpointer(dir / "store")
                  .add_recoverable("model", again)
                  .add_recoverable("optimizer", *resumed)
                  .recover_if_possible());
  for (int step = 3; step < 6; ++step) train_step(again, *resumed, step);
  EXPECT_TRUE(same_bits(bits_of(*again), bits_of(*net)));
}

INSTANTIATE_TEST_SUITE_P(
    Optimizers, Resume,
    ::testing::Values(
        OptimizerCase{"SGD",
                      [](auto p) {
                        return std::make_unique<optim::SGD>(
                            p, optim::SGDOptions(0.1).momentum(0.9).weight_decay(0.01));
                      }},
        OptimizerCase{
            "Adam",
            [](auto p) { return std::make_unique<optim::Adam>(p, optim::AdamOptions(0.01)); }},
        OptimizerCase{"AdamWithAmsgrad",
                      [](auto p) {
                        return std::make_unique<optim::Adam>(
                            p, optim::AdamOptions(0.01).amsgrad(true));
                      }},
        OptimizerCase{
            "AdamW",
            [](auto p) { return std::make_unique<optim::AdamW>(p, optim::AdamWOptions(0.01)); }},
        OptimizerCase{"RMSprop",
                      [](auto p) {
                        return std::make_unique<optim::RMSprop>(
                            p, optim::RMSpropOptions(0.01).momentum(0.5).centered(true));
                      }},
        OptimizerCase{"Adagrad",
                      [](auto p) {
                        return std::make_unique<optim::Adagrad>(
                            p, optim::AdagradOptions(0.05).initial_accumulator_value(0.1));
                      }},
        OptimizerCase{"LBFGS",
                      [](auto p) {
                        return std::make_unique<optim::LBFGS>(
                            p, optim::LBFGSOptions(0.1).max_iter(3).history_size(4));
                      }},
        OptimizerCase{"LBFGSWithLineSearch",
                      [](auto p) {
                        return std::make_unique<optim::LBFGS>(
                            p, optim::LBFGSOptions(0.1).max_iter(3).line_search_fn("strong_wolfe"));
                      }}),
    [](const auto& test) { return test.param.name; });

class Optimizers : public ::testing::Test {
 protected:
  void save(Recoverable object) {
    Checkpointer(dir_ / "store").add_recoverable("optimizer", object).save_checkpoint();
  }
  void load(Recoverable object) {
    Checkpointer(dir_ / "store").add_recoverable("optimizer", object).recover_if_possible();
  }
  // What loading says of a difference.
  std::string mismatch(Recoverable object) {
    const Error error = error_of([&] { load(object); });
    EXPECT_EQ(error.code(), ErrorCode::kMismatch);
    return error.what();
  }

  ScratchDirectory dir_;
  torch::nn::Sequential net_ = make_net();
};

std::vector<optim::OptimizerParamGroup> two_groups(torch::nn::Sequential& net, double first,
                                                   double second) {
  const auto parameters = net->parameters();
  std::vector<optim::OptimizerParamGroup> groups;
  groups.emplace_back(std::vector<at::Tensor>(parameters.begin(), parameters.begin() + 2),
                      std::make_unique<optim::AdamOptions>(first));
  groups.emplace_back(std::vector<at::Tensor>(parameters.begin() + 2, parameters.end()),
                      std::make_unique<optim::AdamOptions>(second));
  return groups;
}

TEST_F(Optimizers, BringBackTheOptionsOfEveryGroup) {
  optim::Adam saved(two_groups(net_, 0.025, 0.5));
  static_cast<optim::AdamOptions&>(saved.param_groups()[1].options())
      .betas({0.8, 0.95})
      .eps(1e-6)
      .weight_decay(0.125)
      .amsgrad(true);
  save(saved);
  optim::Adam other(two_groups(net_, 0.1, 0.1));
  load(other);
  for (std::size_t g = 0; g < 2; ++g) {
    EXPECT_EQ(static_cast<const optim::AdamOptions&>(other.param_groups()[g].options()),
              static_cast<const optim::AdamOptions&>(saved.param_groups()[g].options()));
  }
}

TEST_F(Optimizers, LoseTheStateThatTheCheckpointLacks) {
  optim::Adam optimizer(net_->parameters());
  save(optimizer);
  train_step(net_, optimizer, 0);
  ASSERT_FALSE(optimizer.state().empty());
  load(optimizer);
  EXPECT_TRUE(optimizer.state().empty());
}

TEST_F(Optimizers, SayWhichOptimizerWasSaved) {
  optim::Adam adam(net_->parameters());
  save(adam);
  optim::SGD sgd(net_->parameters(), 0.1);
  EXPECT_TRUE(mentions(mismatch(sgd), {"\"optimizer\"", "saved as Adam", "here it is SGD"}));
}

TEST_F(Optimizers, CompareGroupsAndParameters) {
  optim::Adam saved(net_->parameters());
  train_step(net_, saved, 0);
  save(saved);
  optim::Adam grouped(two_groups(net_, 0.1, 0.1));
  EXPECT_TRUE(mentions(mismatch(grouped), {"1 parameter groups", "here it has 2"}));
  auto parameters = net_->parameters();
  std::swap(parameters[0], parameters[1]);
  optim::Adam reordered(parameters);
  EXPECT_TRUE(mentions(mismatch(reordered), {"parameter 0 of group 0", "[8, 4]", "f32 [8]",
                                             "parameter 1 of group 0", "2 differences"}));
  parameters.pop_back();
  optim::Adam fewer(parameters);
  EXPECT_TRUE(mentions(mismatch(fewer), {"6 parameters", "here it has 5"}));
}

TEST_F(Optimizers, OfOtherKindsAreRefusedByTheirTypeUnlessHooksAreGiven) {
  struct Mine : optim::Optimizer {
    explicit Mine(std::vector<at::Tensor> p)
        : Optimizer(std::move(p), std::make_unique<optim::SGDOptions>(0.1)) {}
    at::Tensor step(LossClosure) override { return {}; }
  } mine(net_->parameters());
  Checkpointer checkpointer(dir_ / "store");
  const Error error = error_of([&] { checkpointer.add_recoverable("optimizer", mine); });
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_TRUE(mentions(error.what(), {"\"optimizer\"", "Mine", ".custom_save_hook"}));
  checkpointer.add_recoverable(
      "optimizer", mine,
      {.custom_load_hook = [](StateReader&) { return ApplyStep(); },
       .custom_save_hook = [](StateWriter& writer) { writer.value("nothing", true); }});
  checkpointer.save_checkpoint();
}

TEST_F(Optimizers, WithStepLrGoOnAtTheRateThatTheyHad) {
  const auto rate = [](const optim::Optimizer& optimizer) {
    return optimizer.param_groups()[0].options().get_lr();
  };
  const auto run = [&](optim::Optimizer& optimizer, optim::StepLR& scheduler, int steps) {
    for (int i = 0; i < steps; ++i) {
      optimizer.step();
      scheduler.step();
    }
  };
  optim::SGD optimizer(net_->parameters(), 1.0);
  optim::StepLR scheduler(optimizer, /*step_size=*/3, /*gamma=*/0.5);
  run(optimizer, scheduler, 4);
  Checkpointer(dir_ / "store")
      .add_recoverable("optimizer", optimizer)
      .add_recoverable("scheduler", scheduler)
      .save_checkpoint();

  optim::SGD other(net_->parameters(), 7.0);
  optim::StepLR resumed(other, 3, 0.5);
  Checkpointer(dir_ / "store")
      .add_recoverable("optimizer", other)
      .add_recoverable("scheduler", resumed)
      .recover_if_possible();
  for (int i = 0; i < 6; ++i) {
    EXPECT_EQ(rate(other), rate(optimizer)) << i;
    run(optimizer, scheduler, 1);
    run(other, resumed, 1);
  }
}

#if __has_include(<torch/optim/schedulers/reduce_on_plateau_scheduler.h>)
TEST_F(Optimizers, WithAPlateauSchedulerGoOnBeingPatient) {
  using Plateau = optim::ReduceLROnPlateauScheduler;
  const auto make = [](optim::Optimizer& optimizer) {
    return Plateau(optimizer, Plateau::min, /*factor=*/0.5F, /*patience=*/2, 1e-4, Plateau::rel,
                   /*cooldown=*/1);
  };
  const std::vector<float> losses{3, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1};
  for (std::size_t saved_at = 0; saved_at < losses.size(); ++saved_at) {
    const ScratchDirectory dir;
    optim::SGD optimizer(net_->parameters(), 1.0), other(net_->parameters(), 7.0);
    Plateau scheduler = make(optimizer), resumed = make(other);
    for (std::size_t i = 0; i < saved_at; ++i) scheduler.step(losses[i]);
    Checkpointer(dir / "store")
        .add_recoverable("optimizer", optimizer)
        .add_recoverable("scheduler", scheduler)
        .save_checkpoint();
    Checkpointer(dir / "store")
        .add_recoverable("optimizer", other)
        .add_recoverable("scheduler", resumed)
        .recover_if_possible();
    for (std::size_t i = saved_at; i < losses.size(); ++i) {
      scheduler.step(losses[i]);
      resumed.step(losses[i]);
      EXPECT_EQ(other.param_groups()[0].options().get_lr(),
                optimizer.param_groups()[0].options().get_lr())
          << "saved before " << saved_at << ", at " << i;
    }
  }
}
#endif

TEST_F(Optimizers, SchedulersOfOtherKindsNameTheHook) {
  struct Constant : optim::LRScheduler {
    using LRScheduler::LRScheduler;
    std::vector<double> get_lrs() override { return get_current_lrs(); }
  };
  optim::SGD optimizer(net_->parameters(), 1.0);
  Constant scheduler(optimizer);
  Checkpointer checkpointer(dir_ / "store");
  const Error error = error_of([&] { checkpointer.add_recoverable("scheduler", scheduler); });
  EXPECT_TRUE(mentions(error.what(), {"Constant", ".custom_save_hook"}));
}

}  // namespace
}  // namespace cairn::testing
