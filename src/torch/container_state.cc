// The state of containers of tensors: vectors, maps and ordered dictionaries, nested at will.
//
//   values   "type" = "tensors"; "layout" = the tree: of a tensor, whether it is defined; of a
//   list,
//            a list of trees; of a map, a list of pairs [key, tree] in the map's order
//   tensors  under their keys joined by '.'; in all but the last, '%' and '.' stand as %25 and %2E,
//            so that no two paths of one depth are the same
#include "load_plan.h"

#include <cairn/error.h>
#include <cairn/torch/recoverable.h>

#include <torch/torch.h>

#include <map>
#include <memory>
#include <string>
#include <utility>

namespace cairn::detail {

namespace {

// What stands before the keys of an inner container.
std::string prefix_of(const std::string& prefix, const std::string& key) {
  return prefix + escaped(key) + ".";
}

MetaValue save_container(StateWriterImpl& writer, const std::string& prefix,
                         const TensorNode& container) {
  MetaValue::List layout;
  for (const auto& [name, child] : container.children) {
    MetaValue saved = false;
    if (child.tensor == nullptr) {
      saved = save_container(writer, prefix_of(prefix, name), child);
    } else {
      if (child.tensor->defined()) writer.tensor(prefix + name, *child.tensor);
      saved = MetaValue(child.tensor->defined());
    }
    if (container.named) saved = MetaValue(MetaValue::List{MetaValue(name), std::move(saved)});
    layout.push_back(std::move(saved));
  }
  return MetaValue(std::move(layout));
}

class TensorsState : public RecoverableImpl {
 public:
  TensorsState(std::function<TensorNode()> nodes,
               std::function<PendingTree(const MetaValue&)> begin_load)
      : nodes_(std::move(nodes)), begin_load_(std::move(begin_load)) {}

  void save(StateWriterImpl& writer) const override {
    writer.value("type", kType);
    writer.value("layout", save_container(writer, "", nodes_()));
  }

  void plan_load(StateReaderImpl& reader) const override {
    if (!check_type(reader, kType)) return;
    const MetaValue* layout = reader.find_value("layout");
    if (layout == nullptr || !layout->is_list()) {
      return reader.mismatch("value \"layout\" is missing or no list");
    }
    PendingTree pending = begin_load_(*layout);
    plan_container(reader, "", pending.node, *layout);
    reader.finish(true);
    reader.plan().step(std::move(pending.apply));
  }

 private:
  static constexpr const char* kType = "tensors";

  static std::string place_of(const std::string& prefix) {
    if (prefix.empty()) return "the container";
    return "container " + in_quotes(std::string_view(prefix).substr(0, prefix.size() - 1));
  }

  static void plan_tensor(StateReaderImpl& reader, const std::string& key, at::Tensor& tensor,
                          const MetaValue& saved) {
    if (!saved.is_bool()) {
      return reader.mismatch(in_quotes(key) + " was saved as a container, here it is a tensor");
    }
    if (saved.as_bool() && tensor.defined()) {
      reader.read_into(key, tensor);
    } else if (saved.as_bool()) {
      tensor = reader.read_new(key, at::kCPU);
      if (!tensor.defined()) {
        reader.mismatch("tensor " + in_quotes(key) + " is missing from the checkpoint");
      }
    } else if (tensor.defined()) {
      reader.mismatch("tensor " + in_quotes(key) + " was saved undefined, here it is " +
                      describe(tensor));
    }
  }

  static void plan_container(StateReaderImpl& reader, const std::string& prefix, TensorNode& node,
                             const MetaValue& saved) {
    if (!saved.is_list()) {
      return reader.mismatch(place_of(prefix) + " was saved as a tensor");
    }
    // The saved children by name; those of a list are named by their position.
    std::map<std::string, const MetaValue*> children;
    for (const MetaValue& child : saved.as_list()) {
      if (!node.named) {
        children.emplace(std::to_string(children.size()), &child);
      } else if (child.is_list() && child.as_list().size() == 2 && child.as_list()[0].is_string()) {
        children.emplace(child.as_list()[0].as_string(), &child.as_list()[1]);
      } else {
        return reader.mismatch(place_of(prefix) + " was saved as a list, here it is a map");
      }
    }
    for (auto& [name, child] : node.children) {
      const auto at = children.find(name);
      if (at == children.end()) {
        reader.mismatch(place_of(prefix) + " was saved without " + in_quotes(name) +
                        "; make it as it was, or empty");
        continue;
      }
      if (child.tensor != nullptr) {
        plan_tensor(reader, prefix + name, *child.tensor, *at->second);
      } else {
        plan_container(reader, prefix_of(prefix, name), child, *at->second);
      }
      children.erase(at);
    }
    for (const auto& [name, child] : children) {
      reader.mismatch(place_of(prefix) + " was saved with " + in_quotes(name) +
                      ", which it lacks here; make it as it was, or empty");
    }
  }

  std::function<TensorNode()> nodes_;
  std::function<PendingTree(const MetaValue&)> begin_load_;
};

}  // namespace

RecoverablePtr recover_tensors(std::function<TensorNode()> nodes,
                               std::function<PendingTree(const MetaValue& saved)> begin_load) {
  return std::make_shared<TensorsState>(std::move(nodes), std::move(begin_load));
}

}  // namespace cairn::detail
