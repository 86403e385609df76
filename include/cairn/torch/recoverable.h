// What a checkpointer can save and load, and how a type of your own takes part.
//
// LibTorch's classes are only declared here, so that this header costs nothing to include; include
// <torch/torch.h> for whatever you register.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/error.h>
#include <cairn/meta_value.h>

#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <vector>

namespace at {
class Tensor;
struct Generator;
}  // namespace at

namespace torch {
template <typename Key, typename Value>
class OrderedDict;
namespace nn {
class Module;
}  // namespace nn
namespace optim {
class Optimizer;
class LRScheduler;
class ReduceLROnPlateauScheduler;
}  // namespace optim
namespace serialize {
class OutputArchive;
class InputArchive;
}  // namespace serialize
namespace data::samplers {
template <typename BatchRequest>
class Sampler;
}  // namespace data::samplers
}  // namespace torch

namespace cairn {

namespace detail {
class RecoverableImpl;
class StateWriterImpl;
class StateReaderImpl;
}  // namespace detail

/// Changes an object to the state that was just checked; the last step of a load.
///
/// It runs after every recoverable of the load was checked, so it must not fail: do in
/// `load_state` whatever can. An empty one does nothing.
using ApplyStep = std::function<void()>;

/// Collects the state of one object while a checkpoint is saved.
///
/// Lifetime: only during the call that gets it.
class StateWriter {
 public:
  explicit StateWriter(detail::StateWriterImpl& impl) : impl_(impl) {}
  StateWriter(const StateWriter&) = delete;
  StateWriter& operator=(const StateWriter&) = delete;

  /// Saves a tensor under `key`, of any strides and device.
  ///
  /// Lifetime: a CPU tensor is not copied; it must not change until the save has returned.
  /// Errors: invalid_argument for a key that is taken, and for a tensor that is undefined, sparse,
  /// quantized, nested or meta.
  void tensor(std::string key, const at::Tensor& tensor);

  /// Saves a value under `key`. Errors: invalid_argument for a key that is taken.
  void value(std::string key, MetaValue value);

  /// Whether the checkpoint is saved at the end of an epoch; false: the epoch will run again.
  bool end_of_epoch() const;

  /// The name that the object has in the checkpointer.
  const std::string& name() const;

 private:
  detail::StateWriterImpl& impl_;
};

/// Gives an object its saved state to check, while a checkpoint is loaded.
///
/// Nothing of any object may change while it is in use: whatever is read here takes effect in the
/// apply step. An error thrown as `cairn::Error` with code `mismatch` is collected with those of
/// all other objects; any other exception ends the load at once. Either way nothing was changed.
/// Lifetime: only during the call that gets it; an apply step must not use it.
class StateReader {
 public:
  explicit StateReader(detail::StateReaderImpl& impl) : impl_(impl) {}
  StateReader(const StateReader&) = delete;
  StateReader& operator=(const StateReader&) = delete;

  bool has_value(std::string_view key) const;
  bool has_tensor(std::string_view key) const;

  /// The value under `key`. Errors: mismatch when the checkpoint has none.
  /// Lifetime: as the reader; copy what an apply step needs.
  const MetaValue& value(std::string_view key) const;
  const MetaValue::Map& values() const;

  /// The tensor under `key`, read now, verified, into new CPU memory.
  /// Errors: mismatch when the checkpoint has none; damaged; truncated; io.
  at::Tensor tensor(std::string_view key) const;

  /// Has the tensor under `key` written into `target` when all checks have passed, together with
  /// those of all other objects and before the apply steps run.
  ///
  /// Shape: the target must have the saved shape and dtype, any strides, any device; what does not
  /// fit is collected as a `mismatch`. Memory: none for a contiguous CPU target.
  void read_into(std::string_view key, const at::Tensor& target) const;

  /// Whether the checkpoint was saved at the end of an epoch; false: the epoch is to run again.
  bool end_of_epoch() const;

  /// The checkpoint that is being loaded.
  const CheckpointInfo& checkpoint() const;

  /// The name that the object has in the checkpointer.
  const std::string& name() const;

 private:
  detail::StateReaderImpl& impl_;
};

/// Loads an object in place of what Cairn would do. Checks, and returns the step that changes it.
using LoadHook = std::function<ApplyStep(StateReader&)>;
/// Saves an object in place of what Cairn would do.
using SaveHook = std::function<void(StateWriter&)>;

/// How one object is saved and loaded. Hooks come in pairs: both or none.
struct RecoverableOptions {
  LoadHook custom_load_hook = {};
  SaveHook custom_save_hook = {};
  /// Checkpoints that lack this object load all the same, and it stays as it is.
  bool optional_load = false;
};

/// A type that saves itself: `void save_state(StateWriter&) const`.
template <class T>
concept SavesState = requires(const T& object, StateWriter& writer) {
  object.save_state(writer);
};

/// A type that loads itself: `ApplyStep load_state(StateReader&)` checks and changes nothing yet.
template <class T>
concept LoadsState = requires(T& object, StateReader& reader) {
  { object.load_state(reader) } -> std::convertible_to<ApplyStep>;
};

/// A type that is saved by a free function beside it: `void save_state(const T&, StateWriter&)`.
///
/// This is how a type that you do not own takes part: declare the two functions in its namespace or
/// in namespace `cairn`, ahead of the `add_recoverable` that needs them. Types derived from it
/// inherit them; the functions of the nearest base are taken.
template <class T>
concept SavesStateFreely = requires(const T& object, StateWriter& writer) {
  save_state(object, writer);
};

/// The other half: `ApplyStep load_state(T&, StateReader&)`; see `LoadsState` and
/// `SavesStateFreely`.
template <class T>
concept LoadsStateFreely = requires(T& object, StateReader& reader) {
  { load_state(object, reader) } -> std::convertible_to<ApplyStep>;
};

namespace detail {

template <class T>
concept HasArchiveMembers = requires(const T& saved, T& loaded,
                                     torch::serialize::OutputArchive& out,
                                     torch::serialize::InputArchive& in) {
  saved.save(out);
  loaded.load(in);
};

template <class T>
concept HasArchiveOperators = requires(const T& saved, T& loaded,
                                       torch::serialize::OutputArchive& out,
                                       torch::serialize::InputArchive& in) {
  out << saved;
  in >> loaded;
};

template <class T>
inline constexpr bool is_shared_module = false;
template <class M>
inline constexpr bool is_shared_module<std::shared_ptr<M>> =
    std::is_base_of_v<torch::nn::Module, M>;

// `nn::Linear` and the like, `nn::AnyModule`.
template <class T>
concept HoldsModule = requires(const T& holder) {
  { holder.is_empty() } -> std::same_as<bool>;
  { holder.ptr() } -> std::convertible_to<std::shared_ptr<torch::nn::Module>>;
};

// A container of tensors, seen without its type: what the library needs to save it and to load it.
struct TensorNode {
  at::Tensor* tensor = nullptr;  // Of a leaf.
  bool named = false;            // Whether the children's names mean something.
  std::vector<std::pair<std::string, TensorNode>> children = {};
};

template <class T>
inline constexpr bool is_tensor_tree = std::same_as<T, at::Tensor>;
template <class T>
inline constexpr bool is_tensor_tree<std::vector<T>> = is_tensor_tree<T>;
template <class T>
inline constexpr bool is_tensor_tree<std::map<std::string, T>> = is_tensor_tree<T>;
template <class T>
inline constexpr bool is_tensor_tree<std::unordered_map<std::string, T>> = is_tensor_tree<T>;
template <class T>
inline constexpr bool is_tensor_tree<torch::OrderedDict<std::string, T>> = is_tensor_tree<T>;

template <class T>
TensorNode node_of(T& tree) {
  TensorNode node;
  if constexpr (std::same_as<T, at::Tensor>) {
    node.tensor = &tree;
  } else if constexpr (requires { tree.push_back(tree.front()); }) {
    for (auto& item : tree) {
      node.children.emplace_back(std::to_string(node.children.size()), node_of(item));
    }
  } else if constexpr (requires { tree.begin()->first; }) {
    node.named = true;
    for (auto& [key, item] : tree) node.children.emplace_back(key, node_of(item));
  } else {
    node.named = true;
    for (auto& item : tree) node.children.emplace_back(item.key(), node_of(item.value()));
  }
  return node;
}

// Gives each container that is empty the saved children; leaves what is saved otherwise alone.
template <class T>
void grow(T& tree, const MetaValue& saved) {
  if constexpr (!std::same_as<T, at::Tensor>) {
    if (!saved.is_list()) return;
    const MetaValue::List& children = saved.as_list();
    if constexpr (requires { tree.push_back(tree.front()); }) {
      if (tree.empty()) tree.resize(children.size());
      for (std::size_t i = 0; i < tree.size() && i < children.size(); ++i) {
        grow(tree[i], children[i]);
      }
    } else {
      const bool empty = tree.begin() == tree.end();
      for (const MetaValue& child : children) {
        if (!child.is_list() || child.as_list().size() != 2) return;
        const MetaValue& key = child.as_list()[0];
        if (!key.is_string()) return;
        if constexpr (requires { tree.begin()->first; }) {
          if (empty) tree.try_emplace(key.as_string());
          if (const auto it = tree.find(key.as_string()); it != tree.end()) {
            grow(it->second, child.as_list()[1]);
          }
        } else {
          if (empty && !tree.contains(key.as_string())) tree.insert(key.as_string(), {});
          if (auto* item = tree.find(key.as_string())) grow(*item, child.as_list()[1]);
        }
      }
    }
  }
}

// A container about to be loaded: a copy that is filled, and the step that puts it in place.
struct PendingTree {
  TensorNode node = {};
  ApplyStep apply = {};
};

template <class BatchRequest>
std::true_type match_sampler(const torch::data::samplers::Sampler<BatchRequest>*);
std::false_type match_sampler(const void*);
template <class T>
inline constexpr bool is_sampler = decltype(match_sampler(std::declval<T*>()))::value;

using RecoverablePtr = std::shared_ptr<const RecoverableImpl>;
using ArchiveSave = std::function<void(torch::serialize::OutputArchive&)>;
using ArchiveLoad = std::function<void(torch::serialize::InputArchive&)>;

RecoverablePtr recover_module(torch::nn::Module& module);
RecoverablePtr recover_module(std::shared_ptr<torch::nn::Module> module);
RecoverablePtr recover_optimizer(torch::optim::Optimizer& optimizer);
RecoverablePtr recover_scheduler(torch::optim::LRScheduler& scheduler);
RecoverablePtr recover_generator(const at::Generator* generator);
RecoverablePtr recover_generator_copy(const at::Generator& generator);
RecoverablePtr recover_plateau(torch::optim::ReduceLROnPlateauScheduler& scheduler);
RecoverablePtr recover_tensor(at::Tensor& tensor);
RecoverablePtr recover_tensors(std::function<TensorNode()> nodes,
                               std::function<PendingTree(const MetaValue& saved)> begin_load);
RecoverablePtr recover_custom(SaveHook save, LoadHook load);
// With `fixed`, saved tensors must have the shapes and dtypes that the object has now: a sampler
// takes the indices of a data set of any size without complaint.
RecoverablePtr recover_archive(ArchiveSave save, ArchiveLoad load, const std::type_info& type,
                               bool fixed);
RecoverablePtr recover_nothing(const std::type_info& type);

[[noreturn]] void throw_out_of_range(const std::string& name, std::int64_t value);

template <class T>
RecoverablePtr recover_scalar(T& object) {
  return recover_custom(
      [&object](StateWriter& writer) { writer.value("value", MetaValue(object)); },
      [&object](StateReader& reader) -> ApplyStep {
        const MetaValue& saved = reader.value("value");
        if constexpr (std::same_as<T, bool>) {
          return [&object, value = saved.as_bool()] { object = value; };
        } else if constexpr (std::integral<T>) {
          const std::int64_t value = saved.as_int();
          if (!std::in_range<T>(value)) throw_out_of_range(reader.name(), value);
          return [&object, value] { object = static_cast<T>(value); };
        } else if constexpr (std::floating_point<T>) {
          return [&object, value = saved.as_double()] { object = static_cast<T>(value); };
        } else {
          return [&object, value = saved.as_string()] { object = value; };
        }
      });
}

template <class T>
inline constexpr bool is_scalar_value = std::same_as<T, std::string> || std::same_as<T, bool> ||
                                        (std::integral<T> && !std::same_as<T, char> &&
                                         !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> &&
                                         !std::same_as<T, char16_t> &&
                                         !std::same_as<T, char32_t>) ||
                                        std::same_as<T, float> || std::same_as<T, double>;

template <class T>
RecoverablePtr recover_tree(T& tree) {
  return recover_tensors([&tree] { return node_of(tree); },
                         [&tree](const MetaValue& saved) {
                           // Tensors are handles: those of the copy are the caller's own.
                           auto next = std::make_shared<T>(tree);
                           grow(*next, saved);
                           return PendingTree{.node = node_of(*next),
                                              .apply = [&tree, next] { tree = std::move(*next); }};
                         });
}

template <class T>
inline constexpr bool has_own_state = SavesState<T> || LoadsState<T> || LoadsStateFreely<T>;

// An object that says itself what its state is, as a member or by functions beside its type.
template <class T>
RecoverablePtr recover_own_state(std::shared_ptr<T> object) {
  static_assert(SavesState<T> == LoadsState<T> && (SavesStateFreely<T> || !LoadsStateFreely<T>),
                "a type that saves itself needs both `void save_state(cairn::StateWriter&) const` "
                "and `cairn::ApplyStep load_state(cairn::StateReader&)`, or both as functions "
                "beside the type, with the object in front");
  if constexpr (SavesState<T> && LoadsState<T>) {
    return recover_custom(
        [object](StateWriter& writer) { std::as_const(*object).save_state(writer); },
        [object](StateReader& reader) -> ApplyStep { return object->load_state(reader); });
  } else if constexpr (SavesStateFreely<T> && LoadsStateFreely<T>) {
    return recover_custom(
        [object](StateWriter& writer) { save_state(std::as_const(*object), writer); },
        [object](StateReader& reader) -> ApplyStep { return load_state(*object, reader); });
  } else {
    return {};  // refused above
  }
}

template <class M>
RecoverablePtr recover_shared(std::shared_ptr<M> module) {
  if constexpr (has_own_state<M>) {
    if (module) return recover_own_state(std::move(module));
  }
  return recover_module(std::shared_ptr<torch::nn::Module>(std::move(module)));
}

// Which of the functions above an object goes to. The order matters: what a type says of itself
// comes before what it inherits.
template <class Reference>
RecoverablePtr recover(Reference&& object) {
  using T = std::remove_reference_t<Reference>;
  using Plain = std::remove_cv_t<T>;
  constexpr bool by_reference = std::is_lvalue_reference_v<Reference> && !std::is_const_v<T>;
  if constexpr (is_shared_module<Plain>) {
    return recover_shared(object);
  } else if constexpr (HoldsModule<Plain>) {
    return object.is_empty() ? recover_module(std::shared_ptr<torch::nn::Module>())
                             : recover_shared(object.ptr());
  } else if constexpr (std::same_as<Plain, at::Generator>) {
    if constexpr (by_reference) {
      return recover_generator(&object);
    } else {
      return recover_generator_copy(object);
    }
  } else {
    static_assert(by_reference,
                  "a recoverable is kept by reference: pass a variable that is not const and "
                  "outlives the checkpointer");
    if constexpr (has_own_state<Plain>) {
      // Shares no ownership: the caller keeps the object.
      return recover_own_state(std::shared_ptr<Plain>(std::shared_ptr<void>(), &object));
    } else if constexpr (std::is_base_of_v<torch::nn::Module, Plain>) {
      return recover_module(static_cast<torch::nn::Module&>(object));
    } else if constexpr (std::is_base_of_v<torch::optim::Optimizer, Plain>) {
      return recover_optimizer(object);
    } else if constexpr (std::is_base_of_v<torch::optim::LRScheduler, Plain>) {
      return recover_scheduler(object);
    } else if constexpr (std::is_base_of_v<torch::optim::ReduceLROnPlateauScheduler, Plain>) {
      return recover_plateau(object);
    } else if constexpr (std::same_as<Plain, at::Tensor>) {
      return recover_tensor(object);
    } else if constexpr (is_tensor_tree<Plain>) {
      return recover_tree(object);
    } else if constexpr (is_scalar_value<Plain>) {
      return recover_scalar(object);
    } else if constexpr (HasArchiveMembers<Plain>) {
      return recover_archive(
          [&object](torch::serialize::OutputArchive& out) { std::as_const(object).save(out); },
          [&object](torch::serialize::InputArchive& in) { object.load(in); }, typeid(Plain),
          is_sampler<Plain>);
    } else if constexpr (HasArchiveOperators<Plain>) {
      return recover_archive(
          [&object](torch::serialize::OutputArchive& out) { out << std::as_const(object); },
          [&object](torch::serialize::InputArchive& in) { in >> object; }, typeid(Plain),
          is_sampler<Plain>);
    } else {
      return recover_nothing(typeid(Plain));
    }
  }
}

}  // namespace detail

/// An object that a checkpointer saves and loads; made implicitly from the object itself.
///
/// Known are: `nn::Module&`, module holders such as `nn::Linear`, `nn::AnyModule`, and `shared_ptr`
/// of a module; LibTorch's six optimizers; `StepLR`, and where LibTorch has it
/// `ReduceLROnPlateauScheduler`; `at::Generator`; `at::Tensor`, and vectors, maps by string and
/// `OrderedDict`s of tensors, nested as you like; bool, integers, float, double, `std::string`;
/// types with `save_state` and `load_state`, as members (`SavesState`, `LoadsState`) or as
/// functions beside the type (`SavesStateFreely`); and types with archive members or operators,
/// such as samplers. Any other object needs the hooks of `RecoverableOptions`.
///
/// What a type says of itself comes before what LibTorch knows of its base: a module with
/// `save_state` and `load_state` is saved by those.
///
/// A container of tensors that is empty takes all that was saved, as new CPU tensors; any other
/// must have the saved keys, and its tensors are written in place. Undefined tensors are saved as
/// such.
///
/// Lifetime: objects are kept by reference and must outlive the checkpointer. Modules given as
/// holder or `shared_ptr` are kept alive and are the ones of that moment; so is a generator given
/// as a temporary or by const reference.
class Recoverable {
 public:
  template <class T>
  requires(!std::same_as<std::remove_cvref_t<T>, Recoverable>)
      // NOLINTNEXTLINE(google-explicit-constructor,bugprone-forwarding-reference-overload)
      Recoverable(T&& object)
      : impl_(detail::recover<T>(std::forward<T>(object))) {}

  const detail::RecoverablePtr& impl() const { return impl_; }

 private:
  detail::RecoverablePtr impl_;
};

/// Objects by the names under which they are saved.
using Recoverables = std::map<std::string, Recoverable>;

}  // namespace cairn
