// The state of modules, generators, single tensors, custom objects and scalars (which are custom
// objects with one value).
//
// How each is stored, the same from every LibTorch version:
//   module     tensors under their dotted names, parameters and buffers alike; no values
//   generator  "type" = "generator", "device" = "cpu" or "cuda"; tensor "state"
//   tensor     "type" = "tensor", "defined"; tensor "value" if it is
//   scalar     "value"
//   custom     what it writes
#include "load_plan.h"

#include <cairn/error.h>
#include <cairn/torch/recoverable.h>

#include <torch/torch.h>

#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace cairn::detail {

namespace {

class ModuleState : public RecoverableImpl {
 public:
  // Shares ownership, or none when the caller keeps the module.
  explicit ModuleState(std::shared_ptr<torch::nn::Module> module) : module_(std::move(module)) {}

  std::string problem() const override {
    return module_ ? std::string() : "it is an empty module holder; construct the module first";
  }

  void save(StateWriterImpl& writer) const override {
    for (const auto& item : module_->named_parameters()) writer.tensor(item.key(), item.value());
    for (const auto& item : module_->named_buffers()) writer.tensor(item.key(), item.value());
  }

  void plan_load(StateReaderImpl& reader) const override {
    for (const auto& item : module_->named_parameters()) reader.read_into(item.key(), item.value());
    for (const auto& item : module_->named_buffers()) reader.read_into(item.key(), item.value());
    reader.finish(true);
  }

 private:
  std::shared_ptr<torch::nn::Module> module_;
};

class GeneratorState : public RecoverableImpl {
 public:
  explicit GeneratorState(const at::Generator* generator) : generator_(generator) {}
  explicit GeneratorState(const at::Generator& generator) : copy_(generator), generator_(&copy_) {}

  std::string problem() const override {
    return generator_->defined() ? std::string()
                                 : "the generator is undefined; make one, for example with "
                                   "`at::detail::createCPUGenerator(seed)`";
  }

  void save(StateWriterImpl& writer) const override {
    if (const std::string text = problem(); !text.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "cannot save " + in_quotes(writer.name()) + ": " + text);
    }
    at::Generator generator = *generator_;
    const std::lock_guard lock(generator.mutex());
    writer.value("type", kType);
    writer.value("device", device_name(generator));
    writer.tensor("state", generator.get_state());
  }

  void plan_load(StateReaderImpl& reader) const override {
    if (!check_type(reader, kType)) return;
    if (const std::string text = problem(); !text.empty()) return reader.mismatch(text);
    at::Generator generator = *generator_;
    const std::string device = device_name(generator);
    const MetaValue* saved = reader.find_value("device");
    if (saved == nullptr || *saved != MetaValue(device)) {
      return reader.mismatch("the generator was saved on " +
                             (saved != nullptr && saved->is_string()
                                  ? saved->as_string()
                                  : std::string("an unknown device")) +
                             ", here it is on " + device);
    }
    at::Tensor state = reader.read_now("state");
    if (!state.defined()) return reader.mismatch("tensor \"state\" is missing from the checkpoint");
    reader.finish(true);
    try {
      at::Generator trial = [&] {
        const std::lock_guard lock(generator.mutex());
        return generator.clone();
      }();
      trial.set_state(state);
    } catch (const std::exception& error) {
      return reader.mismatch("the generator does not take its saved state: " + message_of(error));
    }
    reader.plan().step([generator, state]() mutable {
      const std::lock_guard lock(generator.mutex());
      generator.set_state(state);
    });
  }

 private:
  static constexpr const char* kType = "generator";

  static std::string device_name(const at::Generator& generator) {
    return at::DeviceTypeName(generator.device().type(), true);
  }

  at::Generator copy_;
  const at::Generator* generator_;
};

class TensorState : public RecoverableImpl {
 public:
  explicit TensorState(at::Tensor& tensor) : tensor_(tensor) {}

  void save(StateWriterImpl& writer) const override {
    writer.value("type", kType);
    writer.value("defined", tensor_.defined());
    if (tensor_.defined()) writer.tensor("value", tensor_);
  }

  void plan_load(StateReaderImpl& reader) const override {
    if (!check_type(reader, kType)) return;
    const MetaValue* defined = reader.find_value("defined");
    const bool saved = defined != nullptr && *defined == MetaValue(true);
    if (saved && tensor_.defined()) {
      reader.read_into("value", tensor_);
    } else if (saved) {
      // Nothing to write in place: the variable gets a tensor.
      reader.plan().step(
          [&tensor = tensor_, value = reader.read_new("value", at::kCPU)] { tensor = value; });
    } else if (tensor_.defined()) {
      reader.mismatch("it was saved undefined, here it is " + describe(tensor_));
    }
    reader.finish(true);
  }

 private:
  static constexpr const char* kType = "tensor";
  at::Tensor& tensor_;
};

class CustomState : public RecoverableImpl {
 public:
  CustomState(SaveHook save, LoadHook load) : save_(std::move(save)), load_(std::move(load)) {}

  void save(StateWriterImpl& writer) const override {
    StateWriter face(writer);
    save_(face);
  }

  void plan_load(StateReaderImpl& reader) const override {
    StateReader face(reader);
    try {
      reader.plan().custom_step(load_(face));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kMismatch) throw;
      return reader.mismatch(error.what());
    }
    reader.finish(false);
  }

 private:
  SaveHook save_;
  LoadHook load_;
};

// An object that Cairn cannot save by itself.
class NeedsHooks : public RecoverableImpl {
 public:
  explicit NeedsHooks(std::string problem) : problem_(std::move(problem)) {}
  std::string problem() const override { return problem_; }
  void save(StateWriterImpl&) const override { refuse(); }
  void plan_load(StateReaderImpl&) const override { refuse(); }

 private:
  [[noreturn]] void refuse() const { throw Error(ErrorCode::kInvalidArgument, problem_); }
  std::string problem_;
};

}  // namespace

RecoverablePtr recover_module(torch::nn::Module& module) {
  return std::make_shared<ModuleState>(
      std::shared_ptr<torch::nn::Module>(std::shared_ptr<void>(), &module));
}

RecoverablePtr recover_module(std::shared_ptr<torch::nn::Module> module) {
  return std::make_shared<ModuleState>(std::move(module));
}

RecoverablePtr recover_generator(const at::Generator* generator) {
  return std::make_shared<GeneratorState>(generator);
}

RecoverablePtr recover_generator_copy(const at::Generator& generator) {
  return std::make_shared<GeneratorState>(generator);
}

RecoverablePtr recover_tensor(at::Tensor& tensor) {
  return std::make_shared<TensorState>(tensor);
}

RecoverablePtr recover_custom(SaveHook save, LoadHook load) {
  return std::make_shared<CustomState>(std::move(save), std::move(load));
}

RecoverablePtr recover_nothing(const std::type_info& type) {
  return std::make_shared<NeedsHooks>(
      "Cairn cannot save a " + type_name(type) +
      " by itself: give `.custom_save_hook` and `.custom_load_hook`, or give the type `save_state` "
      "and `load_state` members");
}

void throw_out_of_range(const std::string&, std::int64_t value) {
  throw Error(ErrorCode::kMismatch, "value " + std::to_string(value) +
                                        " is out of range for the variable that is to take it");
}

}  // namespace cairn::detail
