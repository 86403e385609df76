// The state of objects with archive operators, such as samplers: the tree of their archive.
//
// LibTorch turns an archive into bytes that hold code, and runs it when it reads them back. So the
// bytes are never made: an archive's tree is walked and stored as typed values and tensors, and a
// load builds a new tree from those.
//
// Stored the same from every LibTorch version:
//   values   "type" = "archive"
//            "entries" = { PATH: {"kind": KIND, ...} }, PATH being the names from the root joined
//            by
//            '.', with '%' and '.' inside a name written as %25 and %2E
//   tensors  under their PATH, "PATH.I" for the I-th of a list
// KIND    "archive"                              a nested archive
//         "parameter", "buffer", "tensor"        "defined"; how the archive holds the tensor
//         "none", "bool", "i64", "f64", "string" "value"
//         "complex"                              "value" = [real, imaginary]
//         "list of KIND" (bool, i64, f64, string, tensor)  "value" = list; for tensors: of bools,
//                                                which of them are defined
#include "load_plan.h"

#include <cairn/error.h>
#include <cairn/torch/recoverable.h>

#include <torch/torch.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cairn::detail {

namespace {

using torch::jit::Module;
using torch::serialize::InputArchive;
using torch::serialize::OutputArchive;

// An archive's tree is a private member, `module_`, and LibTorch offers no way to it but through
// bytes. An explicit instantiation may name private members, and these two hand them out.
template <class Tag, Module Tag::Archive::*kMember>
struct Expose {
  friend Module& tree(typename Tag::Archive& archive) { return archive.*kMember; }
};
struct OfOutput {
  using Archive = OutputArchive;
};
struct OfInput {
  using Archive = InputArchive;
};
Module& tree(OutputArchive& archive);
Module& tree(InputArchive& archive);
template struct Expose<OfOutput, &OutputArchive::module_>;
template struct Expose<OfInput, &InputArchive::module_>;

// Nothing for a name that `escaped` cannot have made.
std::optional<std::string> unescaped(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    if (text.front() != '%') {
      out += text.front();
      text.remove_prefix(1);
      continue;
    }
    const std::string_view code = text.substr(0, 3);
    if (code != "%25" && code != "%2E") return std::nullopt;
    out += code == "%25" ? '%' : '.';
    text.remove_prefix(3);
  }
  return out;
}

// ---- from a tree to state
// ----------------------------------------------------------------------------

class TreeWriter {
 public:
  explicit TreeWriter(StateWriterImpl& writer) : writer_(writer) {}

  MetaValue::Map write(const Module& root) {
    walk(root, "");
    return std::move(entries_);
  }

 private:
  void walk(const Module& module, const std::string& prefix) {
    const c10::ClassTypePtr type = module.type();
    for (std::size_t i = 0; i < type->numAttributes(); ++i) {
      const std::string path = prefix + escaped(type->getAttributeName(i));
      const c10::IValue value = module._ivalue()->getSlot(i);
      if (value.isObject()) {
        entries_.insert_or_assign(path, MetaValue::Map{{"kind", "archive"}});
        walk(Module(value.toObject()), path + ".");
      } else if (value.isTensor()) {
        const char* kind = type->is_parameter(i) ? "parameter"
                           : type->is_buffer(i)  ? "buffer"
                                                 : "tensor";
        entries_.insert_or_assign(
            path, MetaValue::Map{{"kind", kind}, {"defined", tensor(path, value.toTensor())}});
      } else {
        entries_.insert_or_assign(path, scalar(path, value));
      }
    }
  }

  bool tensor(const std::string& path, const at::Tensor& tensor) {
    if (tensor.defined()) writer_.tensor(path, tensor);
    return tensor.defined();
  }

  MetaValue::Map scalar(const std::string& path, const c10::IValue& value) {
    if (value.isNone()) return {{"kind", "none"}};
    if (value.isBool()) return {{"kind", "bool"}, {"value", value.toBool()}};
    if (value.isInt()) return {{"kind", "i64"}, {"value", value.toInt()}};
    if (value.isDouble()) return {{"kind", "f64"}, {"value", value.toDouble()}};
    if (value.isString()) return {{"kind", "string"}, {"value", value.toStringRef()}};
    if (value.isComplexDouble()) {
      const c10::complex<double> number = value.toComplexDouble();
      return {{"kind", "complex"}, {"value", MetaValue::List{number.real(), number.imag()}}};
    }
    MetaValue::List items;
    if (value.isBoolList()) {
      for (const bool item : value.toBoolList()) items.emplace_back(item);
      return {{"kind", "list of bool"}, {"value", std::move(items)}};
    }
    if (value.isIntList()) {
      for (const std::int64_t item : value.toIntVector()) items.emplace_back(item);
      return {{"kind", "list of i64"}, {"value", std::move(items)}};
    }
    if (value.isDoubleList()) {
      for (const double item : value.toDoubleVector()) items.emplace_back(item);
      return {{"kind", "list of f64"}, {"value", std::move(items)}};
    }
    if (value.isTensorList()) {
      for (const at::Tensor& item : value.toTensorVector()) {
        items.emplace_back(tensor(path + "." + std::to_string(items.size()), item));
      }
      return {{"kind", "list of tensor"}, {"value", std::move(items)}};
    }
    if (value.isList() && value.toList().elementType()->kind() == c10::TypeKind::StringType) {
      for (const c10::IValue& item : value.toListRef()) items.emplace_back(item.toStringRef());
      return {{"kind", "list of string"}, {"value", std::move(items)}};
    }
    throw Error(ErrorCode::kInvalidArgument,
                "cannot save " + in_quotes(writer_.name() + "/" + path) + ": its archive holds a " +
                    value.type()->str() +
                    ", which Cairn does not store; give `.custom_save_hook` and "
                    "`.custom_load_hook`");
  }

  StateWriterImpl& writer_;
  MetaValue::Map entries_;
};

// ---- from state to a tree
// ----------------------------------------------------------------------------

class TreeReader {
 public:
  explicit TreeReader(StateReaderImpl& reader) : reader_(reader) {}

  // Undefined entries and unknown kinds are noted as differences.
  OutputArchive read(const MetaValue::Map& entries) {
    // Nested archives share the root's compilation unit, which names their types.
    OutputArchive root;
    // Paths come in byte order, where "a" stands before "a.b", so a parent is there before its
    // children.
    for (const auto& [path, entry] : entries) {
      if (!read_entry(root, path, entry)) {
        reader_.mismatch("entry " + in_quotes(path) + " of its archive makes no sense");
      }
    }
    return root;
  }

 private:
  bool read_entry(OutputArchive& root, const std::string& path, const MetaValue& entry) {
    if (!entry.is_map()) return false;
    const auto kind_at = entry.as_map().find("kind");
    if (kind_at == entry.as_map().end() || !kind_at->second.is_string()) return false;
    const std::string& kind = kind_at->second.as_string();

    const std::size_t dot = path.rfind('.');
    const auto name = unescaped(dot == std::string::npos ? path : path.substr(dot + 1));
    OutputArchive* parent = &root;
    if (dot != std::string::npos) {
      const auto it = nested_.find(path.substr(0, dot));
      if (it == nested_.end()) return false;
      parent = &it->second;
    }
    if (!name || tree(*parent).hasattr(*name)) return false;

    if (kind == "archive") {
      OutputArchive nested(root.compilation_unit());
      parent->write(*name, nested);
      nested_.emplace(path, std::move(nested));
      return true;
    }
    const bool is_parameter = kind == "parameter";
    if (is_parameter || kind == "buffer" || kind == "tensor") {
      const auto defined = entry.as_map().find("defined");
      if (defined == entry.as_map().end()) return false;
      const auto value = tensor(path, defined->second);
      if (!value) return false;
      if (kind == "tensor") {
        parent->write(*name, c10::IValue(*value));
      } else {
        parent->write(*name, *value, /*is_buffer=*/!is_parameter);
      }
      return true;
    }
    if (kind == "none") {
      parent->write(*name, c10::IValue());
      return true;
    }
    const auto value = entry.as_map().find("value");
    if (value == entry.as_map().end()) return false;
    const auto ivalue = scalar(path, kind, value->second);
    if (!ivalue) return false;
    parent->write(*name, *ivalue);
    return true;
  }

  std::optional<at::Tensor> tensor(const std::string& path, const MetaValue& defined) {
    if (!defined.is_bool()) return std::nullopt;
    if (!defined.as_bool()) return at::Tensor();
    at::Tensor value = reader_.read_now(path);
    if (!value.defined()) return std::nullopt;
    return value;
  }

  std::optional<c10::IValue> scalar(const std::string& path, std::string_view kind,
                                    const MetaValue& value) {
    if (kind == "bool" && value.is_bool()) return c10::IValue(value.as_bool());
    if (kind == "i64" && value.is_int()) return c10::IValue(value.as_int());
    if (kind == "f64" && value.is_double()) return c10::IValue(value.as_double());
    if (kind == "string" && value.is_string()) return c10::IValue(value.as_string());
    if (!value.is_list()) return std::nullopt;
    const MetaValue::List& items = value.as_list();
    const auto all = [&](bool (MetaValue::*is)() const noexcept) {
      return std::all_of(items.begin(), items.end(),
                         [is](const MetaValue& item) { return (item.*is)(); });
    };
    if (kind == "complex" && items.size() == 2 && all(&MetaValue::is_double)) {
      return c10::IValue(c10::complex<double>(items[0].as_double(), items[1].as_double()));
    }
    if (kind == "list of bool" && all(&MetaValue::is_bool)) {
      c10::List<bool> list;
      for (const MetaValue& item : items) list.push_back(item.as_bool());
      return c10::IValue(list);
    }
    if (kind == "list of i64" && all(&MetaValue::is_int)) {
      c10::List<std::int64_t> list;
      for (const MetaValue& item : items) list.push_back(item.as_int());
      return c10::IValue(list);
    }
    if (kind == "list of f64" && all(&MetaValue::is_double)) {
      c10::List<double> list;
      for (const MetaValue& item : items) list.push_back(item.as_double());
      return c10::IValue(list);
    }
    if (kind == "list of string" && all(&MetaValue::is_string)) {
      c10::List<std::string> list;
      for (const MetaValue& item : items) list.push_back(item.as_string());
      return c10::IValue(list);
    }
    if (kind == "list of tensor" && all(&MetaValue::is_bool)) {
      c10::List<at::Tensor> list;
      for (std::size_t i = 0; i < items.size(); ++i) {
        auto item = tensor(path + "." + std::to_string(i), items[i]);
        if (!item) return std::nullopt;
        list.push_back(std::move(*item));
      }
      return c10::IValue(list);
    }
    return std::nullopt;
  }

  StateReaderImpl& reader_;
  std::map<std::string, OutputArchive> nested_;
};

// A tree with tensors of its own, since loading from an archive hands its tensors to the object.
Module copy_of(const Module& module, const std::shared_ptr<torch::jit::CompilationUnit>& unit) {
  Module copy("__torch__.Module", unit, /*shouldMangle=*/true);
  const c10::ClassTypePtr type = module.type();
  for (std::size_t i = 0; i < type->numAttributes(); ++i) {
    const std::string& name = type->getAttributeName(i);
    const c10::IValue value = module._ivalue()->getSlot(i);
    if (value.isObject()) {
      copy.register_module(name, copy_of(Module(value.toObject()), unit));
    } else if (value.isTensor()) {
      const at::Tensor tensor = value.toTensor();
      copy.register_attribute(name, type->getAttribute(i),
                              tensor.defined() ? tensor.detach().clone() : tensor,
                              type->is_parameter(i), type->is_buffer(i));
    } else {
      copy.register_attribute(name, type->getAttribute(i), value.deepcopy());
    }
  }
  return copy;
}

// ---- the object
// ----------------------------------------------------------------------------------------

class ArchiveState : public RecoverableImpl {
 public:
  ArchiveState(ArchiveSave save, ArchiveLoad load, std::string type, bool fixed)
      : save_(std::move(save)), load_(std::move(load)), type_(std::move(type)), fixed_(fixed) {}

  void save(StateWriterImpl& writer) const override {
    OutputArchive archive;
    save_(archive);
    MetaValue::Map entries = TreeWriter(writer).write(tree(archive));
    if (entries.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "cannot save " + in_quotes(writer.name()) + ": " + type_ +
                      " writes nothing into its archive; leave it out, or give "
                      "`.custom_save_hook` and `.custom_load_hook`");
    }
    writer.value("type", kType);
    writer.value("entries", std::move(entries));
  }

  void plan_load(StateReaderImpl& reader) const override {
    if (!check_type(reader, kType)) return;
    const MetaValue* entries = reader.find_value("entries");
    if (entries == nullptr || !entries->is_map() || entries->as_map().empty()) {
      return reader.mismatch("value \"entries\" is missing or empty");
    }
    OutputArchive present;
    save_(present);
    if (fixed_) check_against(reader, entries->as_map(), tree(present));

    OutputArchive saved = TreeReader(reader).read(entries->as_map());
    reader.finish(true);
    const auto next = std::make_shared<InputArchive>();
    const auto undo = std::make_shared<InputArchive>();
    tree(*next) = tree(saved);
    tree(*undo) = copy_of(tree(present), std::make_shared<torch::jit::CompilationUnit>());
    // The plan is carried out while the object exists; the functions are copied all the same, so
    // that nothing here depends on this object staying where it is.
    reader.plan().archive(
        reader.name(), [load = load_, next] { load(*next); },
        [load = load_, undo] { load(*undo); });
  }

 private:
  static constexpr const char* kType = "archive";

  // Notes tensors whose shape or dtype differs from what the object has now.
  static void check_against(StateReaderImpl& reader, const MetaValue::Map& entries,
                            const Module& present) {
    const c10::ClassTypePtr type = present.type();
    for (std::size_t i = 0; i < type->numAttributes(); ++i) {
      const std::string path = escaped(type->getAttributeName(i));
      const c10::IValue value = present._ivalue()->getSlot(i);
      if (!value.isTensor() || !value.toTensor().defined() || !entries.contains(path)) continue;
      const at::Tensor tensor = value.toTensor();
      const auto saved = reader.find_tensor(path);
      if (!saved) continue;
      const TensorInfo& info = reader.info(*saved);
      if (!matches(info.dtype, info.shape, tensor)) {
        reader.mismatch("tensor " + in_quotes(path) + " was saved as " +
                        describe(info.dtype, info.shape) + ", here it is " + describe(tensor));
      }
    }
  }

  ArchiveSave save_;
  ArchiveLoad load_;
  std::string type_;
  bool fixed_;
};

}  // namespace

std::string escaped(std::string_view name) {
  std::string out;
  for (const char c : name) {
    if (c == '%') {
      out += "%25";
    } else if (c == '.') {
      out += "%2E";
    } else {
      out += c;
    }
  }
  return out;
}

RecoverablePtr recover_archive(ArchiveSave save, ArchiveLoad load, const std::type_info& type,
                               bool fixed) {
  return std::make_shared<ArchiveState>(std::move(save), std::move(load), type_name(type), fixed);
}

}  // namespace cairn::detail
