// The state of learning rate schedulers.
//
// How each is stored, the same from every LibTorch version:
//   StepLR     "type" = "StepLR", "step_count"
//   ReduceLROnPlateauScheduler (LibTorch 2.x)
//              "type" = "ReduceLROnPlateau", "best", "last_epoch", "num_bad_epochs",
//              "cooldown_counter"
// What a scheduler is constructed with (step size, patience, ...) belongs to the program and is not
// saved; the rates belong to the optimizer and are saved with it.
#include "load_plan.h"

#include <cairn/error.h>
#include <cairn/torch/recoverable.h>

#include <torch/torch.h>

#include <memory>
#include <string>
#include <utility>

#if __has_include(<torch/optim/schedulers/reduce_on_plateau_scheduler.h>)
#define CAIRN_TORCH_HAS_PLATEAU 1
#else
#define CAIRN_TORCH_HAS_PLATEAU 0
#endif

namespace cairn::detail {

namespace {

// A scheduler's step count is protected: only a derived type may name it.
struct SchedulerSteps : torch::optim::LRScheduler {
  static unsigned& of(torch::optim::LRScheduler& scheduler) {
    return scheduler.*(&SchedulerSteps::step_count_);
  }
};

// StepLR reads the current rates from the optimizer, so its step count is all of its state.
class StepLrState : public RecoverableImpl {
 public:
  explicit StepLrState(torch::optim::StepLR& scheduler) : scheduler_(scheduler) {}

  void save(StateWriterImpl& writer) const override {
    writer.value("type", kType);
    writer.value("step_count", SchedulerSteps::of(scheduler_));
  }

  void plan_load(StateReaderImpl& reader) const override {
    if (!check_type(reader, kType)) return;
    const MetaValue* count = reader.find_value("step_count");
    if (count == nullptr || !count->is_int() || !std::in_range<unsigned>(count->as_int())) {
      reader.mismatch("value \"step_count\" is missing or no count");
    } else {
      reader.plan().step([&scheduler = scheduler_, steps = static_cast<unsigned>(count->as_int())] {
        SchedulerSteps::of(scheduler) = steps;
      });
    }
    reader.finish(true);
  }

 private:
  static constexpr const char* kType = "StepLR";
  torch::optim::StepLR& scheduler_;
};

#if CAIRN_TORCH_HAS_PLATEAU

// All of its state is private, and it has no archive operators. An explicit instantiation may name
// private members; these hand them out.
using Plateau = torch::optim::ReduceLROnPlateauScheduler;

template <class Tag, auto kMember>
struct ExposePlateau {
  friend typename Tag::Type& field(Plateau& scheduler, Tag) { return scheduler.*kMember; }
};
template <class T, int>
struct FieldTag {
  using Type = T;
};
using Best = FieldTag<float, 0>;
using LastEpoch = FieldTag<int, 1>;
using BadEpochs = FieldTag<int, 2>;
using Cooldown = FieldTag<int, 3>;
float& field(Plateau& scheduler, Best);
int& field(Plateau& scheduler, LastEpoch);
int& field(Plateau& scheduler, BadEpochs);
int& field(Plateau& scheduler, Cooldown);
template struct ExposePlateau<Best, &Plateau::best>;
template struct ExposePlateau<LastEpoch, &Plateau::last_epoch>;
template struct ExposePlateau<BadEpochs, &Plateau::num_bad_epochs>;
template struct ExposePlateau<Cooldown, &Plateau::cooldown_counter>;

class PlateauState : public RecoverableImpl {
 public:
  explicit PlateauState(Plateau& scheduler) : scheduler_(scheduler) {}

  void save(StateWriterImpl& writer) const override {
    writer.value("type", kType);
    writer.value("best", static_cast<double>(field(scheduler_, Best{})));
    writer.value("last_epoch", field(scheduler_, LastEpoch{}));
    writer.value("num_bad_epochs", field(scheduler_, BadEpochs{}));
    writer.value("cooldown_counter", field(scheduler_, Cooldown{}));
  }

  void plan_load(StateReaderImpl& reader) const override {
    if (!check_type(reader, kType)) return;
    const MetaValue* best = reader.find_value("best");
    const auto epochs = count(reader, "last_epoch");
    const auto bad = count(reader, "num_bad_epochs");
    const auto cooldown = count(reader, "cooldown_counter");
    if (best == nullptr || !best->is_double()) {
      reader.mismatch("value \"best\" is missing or no number");
    } else {
      reader.plan().step(
          [&scheduler = scheduler_, best = best->as_double(), epochs, bad, cooldown] {
            field(scheduler, Best{}) = static_cast<float>(best);
            field(scheduler, LastEpoch{}) = epochs;
            field(scheduler, BadEpochs{}) = bad;
            field(scheduler, Cooldown{}) = cooldown;
          });
    }
    reader.finish(true);
  }

 private:
  static constexpr const char* kType = "ReduceLROnPlateau";

  // The value under `key`; 0, with the difference noted, when it is none.
  static int count(StateReaderImpl& reader, const char* key) {
    const MetaValue* value = reader.find_value(key);
    if (value != nullptr && value->is_int() && value->as_int() >= 0 &&
        std::in_range<int>(value->as_int())) {
      return static_cast<int>(value->as_int());
    }
    reader.mismatch("value " + in_quotes(key) + " is missing or no count");
    return 0;
  }

  Plateau& scheduler_;
};

#endif

}  // namespace

RecoverablePtr recover_scheduler(torch::optim::LRScheduler& scheduler) {
  if (auto* step_lr = dynamic_cast<torch::optim::StepLR*>(&scheduler)) {
    return std::make_shared<StepLrState>(*step_lr);
  }
  return recover_nothing(typeid(scheduler));
}

#if CAIRN_TORCH_HAS_PLATEAU
RecoverablePtr recover_plateau(Plateau& scheduler) {
  return std::make_shared<PlateauState>(scheduler);
}
#endif

}  // namespace cairn::detail
