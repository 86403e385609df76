// The state of optimizers: every state field and every option of every group, by position.
//
// Stored the same from every LibTorch version (1.13 keys state by an address as text, 2.x by an
// address; neither means anything in another process):
//   values   "type" = "Adam", ...
//            "groups" = [ {"options": {"lr": ..., ...},
//                          "params": [ {"shape": [...], "state": {"step": ...}} ]} ]
//            A parameter without state has no "state". A field that is a list of tensors stands in
//            "state" as a list of bools: which of them are defined.
//   tensors  "groups.G.params.P.FIELD", and "groups.G.params.P.FIELD.I" for the I-th of a list
// The shapes are those of the parameters: they let a load see that the groups are in another order.
#include "load_plan.h"

#include <cairn/error.h>
#include <cairn/torch/recoverable.h>

#include <torch/torch.h>

#include <deque>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace cairn::detail {

namespace {

namespace optim = torch::optim;

// ---- what each optimizer has: the one place that knows their fields
// ---------------------------------

template <class Optimizer>
struct Fields;

template <class OptionsType, class StateType, bool kElementwise>
struct FieldsOf {
  using Options = OptionsType;
  using State = StateType;
  // Whether each tensor of a parameter's state has the parameter's shape and dtype.
  static constexpr bool elementwise = kElementwise;
};

struct AdamLike {
  static void options(auto& o, auto&& visit) {
    visit("lr", o.lr());
    visit("betas", o.betas());
    visit("eps", o.eps());
    visit("weight_decay", o.weight_decay());
    visit("amsgrad", o.amsgrad());
  }
  static void state(auto& s, auto&& visit) {
    visit("step", s.step());
    visit("exp_avg", s.exp_avg());
    visit("exp_avg_sq", s.exp_avg_sq());
    visit("max_exp_avg_sq", s.max_exp_avg_sq());
  }
};

template <>
struct Fields<optim::Adam> : FieldsOf<optim::AdamOptions, optim::AdamParamState, true>, AdamLike {
  static constexpr const char* name = "Adam";
};

template <>
struct Fields<optim::AdamW> : FieldsOf<optim::AdamWOptions, optim::AdamWParamState, true>,
                              AdamLike {
  static constexpr const char* name = "AdamW";
};

template <>
struct Fields<optim::SGD> : FieldsOf<optim::SGDOptions, optim::SGDParamState, true> {
  static constexpr const char* name = "SGD";
  static void options(auto& o, auto&& visit) {
    visit("lr", o.lr());
    visit("momentum", o.momentum());
    visit("dampening", o.dampening());
    visit("weight_decay", o.weight_decay());
    visit("nesterov", o.nesterov());
  }
  static void state(auto& s, auto&& visit) { visit("momentum_buffer", s.momentum_buffer()); }
};

template <>
struct Fields<optim::RMSprop> : FieldsOf<optim::RMSpropOptions, optim::RMSpropParamState, true> {
  static constexpr const char* name = "RMSprop";
  static void options(auto& o, auto&& visit) {
    visit("lr", o.lr());
    visit("alpha", o.alpha());
    visit("eps", o.eps());
    visit("weight_decay", o.weight_decay());
    visit("momentum", o.momentum());
    visit("centered", o.centered());
  }
  static void state(auto& s, auto&& visit) {
    visit("step", s.step());
    visit("square_avg", s.square_avg());
    visit("momentum_buffer", s.momentum_buffer());
    visit("grad_avg", s.grad_avg());
  }
};

template <>
struct Fields<optim::Adagrad> : FieldsOf<optim::AdagradOptions, optim::AdagradParamState, true> {
  static constexpr const char* name = "Adagrad";
  static void options(auto& o, auto&& visit) {
    visit("lr", o.lr());
    visit("lr_decay", o.lr_decay());
    visit("weight_decay", o.weight_decay());
    visit("initial_accumulator_value", o.initial_accumulator_value());
    visit("eps", o.eps());
  }
  static void state(auto& s, auto&& visit) {
    visit("step", s.step());
    visit("sum", s.sum());
  }
};

template <>
struct Fields<optim::LBFGS> : FieldsOf<optim::LBFGSOptions, optim::LBFGSParamState, false> {
  static constexpr const char* name = "LBFGS";
  static void options(auto& o, auto&& visit) {
    visit("lr", o.lr());
    visit("max_iter", o.max_iter());
    visit("max_eval", o.max_eval());
    visit("tolerance_grad", o.tolerance_grad());
    visit("tolerance_change", o.tolerance_change());
    visit("history_size", o.history_size());
    visit("line_search_fn", o.line_search_fn());
  }
  static void state(auto& s, auto&& visit) {
    visit("func_evals", s.func_evals());
    visit("n_iter", s.n_iter());
    visit("t", s.t());
    visit("prev_loss", s.prev_loss());
    visit("d", s.d());
    visit("H_diag", s.H_diag());
    visit("prev_flat_grad", s.prev_flat_grad());
    visit("old_dirs", s.old_dirs());
    visit("old_stps", s.old_stps());
    visit("ro", s.ro());
    visit("al", s.al());
  }
};

// ---- values of fields
// --------------------------------------------------------------------------------

// std::optional, or in 1.13 LibTorch's own.
template <class T>
concept IsOptional = requires(T field) {
  field.has_value();
  field.reset();
};

using Betas = std::tuple<double, double>;

template <class T>
MetaValue to_value(const T& field) {
  if constexpr (std::is_same_v<T, Betas>) {
    return MetaValue(MetaValue::List{std::get<0>(field), std::get<1>(field)});
  } else {
    return MetaValue(field);
  }
}

// False when the value is of another type.
template <class T>
bool from_value(const MetaValue& value, T& field) {
  if constexpr (std::is_same_v<T, Betas>) {
    if (!value.is_list() || value.as_list().size() != 2) return false;
    return from_value(value.as_list()[0], std::get<0>(field)) &&
           from_value(value.as_list()[1], std::get<1>(field));
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_bool()) return false;
    field = value.as_bool();
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    if (!value.is_int()) return false;
    field = value.as_int();
  } else if constexpr (std::is_same_v<T, double>) {
    if (!value.is_double()) return false;
    field = value.as_double();
  } else {
    static_assert(std::is_same_v<T, std::string>);
    if (!value.is_string()) return false;
    field = value.as_string();
  }
  return true;
}

// Visits fields and puts them into a map of values and, under `prefix`, a writer's tensors.
class FieldWriter {
 public:
  FieldWriter(StateWriterImpl& writer, std::string prefix, MetaValue::Map& values)
      : writer_(writer), prefix_(std::move(prefix)), values_(values) {}

  void operator()(const char* name, const at::Tensor& field) {
    if (field.defined()) writer_.tensor(prefix_ + name, field);
  }
  void operator()(const char* name, const std::deque<at::Tensor>& field) { list(name, field); }
  void operator()(const char* name, const std::vector<at::Tensor>& field) { list(name, field); }

  template <class T>
  void operator()(const char* name, const T& field) {
    if constexpr (IsOptional<T>) {
      if (field) (*this)(name, *field);
    } else {
      values_.insert_or_assign(name, to_value(field));
    }
  }

 private:
  void list(const char* name, const auto& field) {
    MetaValue::List defined;
    for (const at::Tensor& tensor : field) {
      if (tensor.defined()) {
        writer_.tensor(prefix_ + name + "." + std::to_string(defined.size()), tensor);
      }
      defined.emplace_back(tensor.defined());
    }
    values_.insert_or_assign(name, std::move(defined));
  }

  StateWriterImpl& writer_;
  std::string prefix_;
  MetaValue::Map& values_;
};

// Visits fields and fills them from a map of values and, under `prefix`, a checkpoint's tensors.
class FieldReader {
 public:
  FieldReader(StateReaderImpl& reader, std::string prefix, const MetaValue::Map& values,
              const at::Tensor* like, at::Device device)
      : reader_(reader),
        prefix_(std::move(prefix)),
        values_(values),
        like_(like),
        device_(device) {}

  void operator()(const char* name, at::Tensor& field) { field = tensor(prefix_ + name); }
  void operator()(const char* name, std::deque<at::Tensor>& field) { list(name, field); }
  void operator()(const char* name, std::vector<at::Tensor>& field) { list(name, field); }

  template <class T>
  void operator()(const char* name, T& field) {
    if constexpr (IsOptional<T>) {
      if (!values_.contains(name)) {
        field.reset();
      } else {
        typename T::value_type value{};
        (*this)(name, value);
        field = std::move(value);
      }
    } else if (const MetaValue* value = find(name);
               value != nullptr && !from_value(*value, field)) {
      reader_.mismatch("value " + in_quotes(prefix_ + name) + " was saved as " +
                       std::string(value->type_name()) + ", which it cannot be here");
    }
  }

  // Notes values that no field has asked for.
  void finish() const {
    for (const auto& [name, value] : values_) {
      if (!used_.contains(name)) {
        reader_.mismatch("value " + in_quotes(prefix_ + name) +
                         " is in the checkpoint; here there is none of that name");
      }
    }
  }

 private:
  const MetaValue* find(const char* name) {
    used_.insert(name);
    const auto it = values_.find(std::string_view(name));
    if (it != values_.end()) return &it->second;
    reader_.mismatch("value " + in_quotes(prefix_ + name) + " is missing from the checkpoint");
    return nullptr;
  }

  at::Tensor tensor(const std::string& key) {
    const auto saved = reader_.find_tensor(key);
    if (!saved) return {};
    const TensorInfo& info = reader_.info(*saved);
    if (like_ == nullptr) return reader_.read_new(key, device_);
    if (!matches(info.dtype, info.shape, *like_)) {
      reader_.mismatch("tensor " + in_quotes(key) + " was saved as " +
                       describe(info.dtype, info.shape) + ", here its parameter is " +
                       describe(*like_));
      return {};
    }
    // New memory, laid out as the optimizer itself would.
    at::Tensor target = at::empty_like(like_->detach());
    reader_.plan().transfer(*saved, target);
    return target;
  }

  void list(const char* name, auto& field) {
    const MetaValue* value = find(name);
    if (value == nullptr) return;
    field.clear();
    if (!value->is_list()) {
      return reader_.mismatch("value " + in_quotes(prefix_ + name) + " is no list of tensors");
    }
    for (const MetaValue& defined : value->as_list()) {
      const std::string key = prefix_ + name + "." + std::to_string(field.size());
      at::Tensor element = defined == MetaValue(true) ? tensor(key) : at::Tensor();
      if (defined == MetaValue(true) && !element.defined()) {
        reader_.mismatch("tensor " + in_quotes(key) + " is missing from the checkpoint");
      }
      field.push_back(std::move(element));
    }
  }

  StateReaderImpl& reader_;
  std::string prefix_;
  const MetaValue::Map& values_;
  const at::Tensor* like_;
  at::Device device_;
  std::set<std::string, std::less<>> used_;
};

// ---- the optimizer
// -------------------------------------------------------------------------------------

using StateMap = std::remove_cvref_t<decltype(std::declval<optim::Optimizer&>().state())>;

// LibTorch's key of a parameter's state: its address, in 1.13 as text.
template <class Key = StateMap::key_type>
Key state_key(const at::Tensor& parameter) {
  if constexpr (std::is_same_v<Key, std::string>) {
    std::ostringstream text;
    text << static_cast<const void*>(parameter.unsafeGetTensorImpl());
    return text.str();
  } else {
    return parameter.unsafeGetTensorImpl();
  }
}

std::string group_prefix(std::size_t group) {
  return "groups." + std::to_string(group) + ".";
}

std::string param_prefix(std::size_t group, std::size_t param) {
  return group_prefix(group) + "params." + std::to_string(param) + ".";
}

MetaValue::List shape_value(const at::Tensor& parameter) {
  return {parameter.sizes().begin(), parameter.sizes().end()};
}

// The map or list under `key`, or null.
const MetaValue* member(const MetaValue& map, std::string_view key) {
  if (!map.is_map()) return nullptr;
  const auto it = map.as_map().find(key);
  return it == map.as_map().end() ? nullptr : &it->second;
}

std::string describe_shape(const MetaValue& shape) {
  std::vector<std::int64_t> lengths;
  for (const MetaValue& length : shape.as_list()) {
    if (length.is_int()) lengths.push_back(length.as_int());
  }
  return describe(std::span<const std::int64_t>(lengths));
}

template <class Optimizer>
class OptimizerState : public RecoverableImpl {
  using F = Fields<Optimizer>;
  using Options = typename F::Options;
  using ParamState = typename F::State;

 public:
  explicit OptimizerState(Optimizer& optimizer) : optimizer_(optimizer) {}

  void save(StateWriterImpl& writer) const override {
    MetaValue::List groups;
    for (std::size_t g = 0; g < optimizer_.param_groups().size(); ++g) {
      groups.emplace_back(save_group(writer, g));
    }
    writer.value("type", F::name);
    writer.value("groups", std::move(groups));
  }

  void plan_load(StateReaderImpl& reader) const override {
    if (!check_type(reader, F::name)) return;
    const MetaValue* groups = reader.find_value("groups");
    const std::size_t count = optimizer_.param_groups().size();
    if (groups == nullptr || !groups->is_list()) {
      return reader.mismatch("value \"groups\" is missing or no list");
    }
    if (groups->as_list().size() != count) {
      return reader.mismatch("it was saved with " + std::to_string(groups->as_list().size()) +
                             " parameter groups, here it has " + std::to_string(count));
    }
    // What the load will put in place; filled by the load of tensors before the step runs.
    auto loaded = std::make_shared<Loaded>();
    bool same_parameters = true;
    for (std::size_t g = 0; g < count; ++g) {
      if (!plan_group(reader, g, groups->as_list()[g], *loaded)) same_parameters = false;
    }
    // With other parameters, every tensor of theirs would be reported once more.
    if (same_parameters) reader.finish(true);
    reader.plan().step([&optimizer = optimizer_, loaded] {
      auto& own = optimizer.param_groups();
      for (std::size_t g = 0; g < own.size(); ++g) {
        static_cast<Options&>(own[g].options()) = std::move(loaded->options[g]);
      }
      optimizer.state().swap(loaded->state);
    });
  }

 private:
  struct Loaded {
    std::vector<Options> options;
    StateMap state;
  };

  MetaValue::Map save_group(StateWriterImpl& writer, std::size_t g) const {
    const optim::OptimizerParamGroup& group = std::as_const(optimizer_).param_groups()[g];
    MetaValue::Map options;
    F::options(static_cast<const Options&>(group.options()),
               FieldWriter(writer, group_prefix(g), options));
    MetaValue::List params;
    for (std::size_t p = 0; p < group.params().size(); ++p) {
      const at::Tensor& parameter = group.params()[p];
      MetaValue::Map param{{"shape", shape_value(parameter)}};
      const auto& states = std::as_const(optimizer_).state();
      const auto it = states.find(state_key(parameter));
      if (it != states.end() && it->second) {
        MetaValue::Map state;
        F::state(static_cast<const ParamState&>(*it->second),
                 FieldWriter(writer, param_prefix(g, p), state));
        param.emplace("state", std::move(state));
      }
      params.emplace_back(std::move(param));
    }
    return {{"options", std::move(options)}, {"params", std::move(params)}};
  }

  // False when the group was saved with other parameters.
  bool plan_group(StateReaderImpl& reader, std::size_t g, const MetaValue& saved,
                  Loaded& loaded) const {
    const optim::OptimizerParamGroup& group = std::as_const(optimizer_).param_groups()[g];
    const std::string place = "parameter group " + std::to_string(g);
    Options& options = loaded.options.emplace_back(static_cast<const Options&>(group.options()));
    if (const MetaValue* values = member(saved, "options"); values != nullptr && values->is_map()) {
      FieldReader fields(reader, group_prefix(g), values->as_map(), nullptr, at::kCPU);
      F::options(options, fields);
      fields.finish();
    } else {
      reader.mismatch(place + " was saved without options");
    }
    const MetaValue* params = member(saved, "params");
    const std::size_t count = group.params().size();
    if (params == nullptr || !params->is_list() || params->as_list().size() != count) {
      const bool known = params != nullptr && params->is_list();
      reader.mismatch(place + " was saved with " +
                      (known ? std::to_string(params->as_list().size()) : "no list of") +
                      " parameters, here it has " + std::to_string(count));
      return false;
    }
    bool same = true;
    for (std::size_t p = 0; p < count; ++p) {
      if (!plan_param(reader, g, p, params->as_list()[p], group.params()[p], loaded.state)) {
        same = false;
      }
    }
    return same;
  }

  bool plan_param(StateReaderImpl& reader, std::size_t g, std::size_t p, const MetaValue& saved,
                  const at::Tensor& parameter, StateMap& states) const {
    const MetaValue* shape = member(saved, "shape");
    if (shape == nullptr || !shape->is_list() || *shape != MetaValue(shape_value(parameter))) {
      reader.mismatch(
          "parameter " + std::to_string(p) + " of group " + std::to_string(g) + " was saved with " +
          (shape != nullptr && shape->is_list() ? "shape " + describe_shape(*shape) : "no shape") +
          ", here it is " + describe(parameter));
      return false;
    }
    const MetaValue* values = member(saved, "state");
    if (values == nullptr) return true;
    if (!values->is_map()) {
      reader.mismatch("value \"state\" of parameter " + std::to_string(p) + " of group " +
                      std::to_string(g) + " is no map");
      return false;
    }
    auto state = std::make_unique<ParamState>();
    FieldReader fields(reader, param_prefix(g, p), values->as_map(),
                       F::elementwise ? &parameter : nullptr, parameter.device());
    F::state(*state, fields);
    fields.finish();
    states[state_key(parameter)] = std::move(state);
    return true;
  }

  Optimizer& optimizer_;
};

// The first of the types that the optimizer has.
template <class... Optimizers>
RecoverablePtr recover_any(optim::Optimizer& optimizer) {
  RecoverablePtr found;
  const auto attempt = [&]<class Optimizer>(Optimizer* known) {
    if (known != nullptr) found = std::make_shared<OptimizerState<Optimizer>>(*known);
    return known != nullptr;
  };
  (attempt(dynamic_cast<Optimizers*>(&optimizer)) || ...);
  return found;
}

}  // namespace

RecoverablePtr recover_optimizer(optim::Optimizer& optimizer) {
  RecoverablePtr found = recover_any<optim::SGD, optim::Adam, optim::AdamW, optim::RMSprop,
                                     optim::Adagrad, optim::LBFGS>(optimizer);
  return found ? found : recover_nothing(typeid(optimizer));
}

}  // namespace cairn::detail
