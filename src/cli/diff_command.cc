#include "commands.h"
#include "json.h"
#include "meter.h"
#include "reference.h"
#include "same.h"
#include "session.h"
#include "tensor_stream.h"
#include "text.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cairn::cli {
namespace {

using Position = std::optional<std::size_t>;

struct Difference {
  std::vector<std::size_t> added = {};                            // positions in B
  std::vector<std::size_t> removed = {};                          // in A
  std::vector<std::pair<std::size_t, std::size_t>> changed = {};  // in A and B
  std::uint64_t unchanged = 0;
  std::vector<std::string> values = {};  // "recoverable/key" or a metadata key, that differ
  std::vector<std::string> meta = {};
};

std::string name_of(const TensorInfo& tensor) {
  return std::string(tensor.recoverable) + "/" + std::string(tensor.key);
}

std::map<std::string, std::size_t> positions(const Checkpoint& checkpoint) {
  std::map<std::string, std::size_t> by_name;
  const auto tensors = checkpoint.tensors();
  for (std::size_t i = 0; i < tensors.size(); ++i) by_name.emplace(name_of(tensors[i]), i);
  return by_name;
}

// For tensors whose digests do not tell: small ones that share a chunk, and such as are cut
// differently. One that cannot be read any more counts as changed.
bool same_bytes(const Checkpoint& a, std::size_t tensor_a, const Checkpoint& b,
                std::size_t tensor_b, const std::function<void(std::uint64_t bytes)>& seen) {
  bool same = true;
  try {
    std::vector<std::byte> other;
    for_each_piece(a, tensor_a, [&](std::uint64_t offset, std::span<const std::byte> bytes) {
      seen(bytes.size());
      if (!same) return;
      other.resize(bytes.size());
      b.read_range(tensor_b, offset, other);
      same = std::equal(bytes.begin(), bytes.end(), other.begin());
    });
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged && error.code() != ErrorCode::kTruncated) throw;
    return false;
  }
  return same;
}

// The keys that one map lacks or that have different values.
std::vector<std::string> different_keys(const MetaValue::Map& a, const MetaValue::Map& b) {
  std::set<std::string> keys;
  for (const auto& [key, value] : a) {
    const auto other = b.find(key);
    if (other == b.end() || other->second != value) keys.insert(key);
  }
  for (const auto& [key, value] : b) {
    if (!a.contains(key)) keys.insert(key);
  }
  return {keys.begin(), keys.end()};
}

const MetaValue::Map& values_of(const Checkpoint& checkpoint, const std::string& recoverable) {
  static const MetaValue::Map none;
  return checkpoint.has_recoverable(recoverable) ? checkpoint.values(recoverable) : none;
}

/// A tensor of both, and what the indexes say of it.
struct Pair {
  std::size_t tensor_a = 0;
  std::size_t tensor_b = 0;
  Sameness sameness{};
};

Difference difference(const Checkpoint& a, const Checkpoint& b, Meter& meter) {
  Difference result;
  const auto in_a = positions(a);
  const auto in_b = positions(b);
  std::vector<Pair> pairs;
  Progress progress;  // of those that must be read
  for (const auto& [name, tensor_a] : in_a) {
    const auto found = in_b.find(name);
    if (found == in_b.end()) {
      result.removed.push_back(tensor_a);
      continue;
    }
    const Sameness sameness = compare(a, tensor_a, b, found->second);
    pairs.push_back({tensor_a, found->second, sameness});
    if (sameness == Sameness::kUnknown) progress.total_bytes += a.tensors()[tensor_a].bytes;
  }
  const auto seen = [&](std::uint64_t bytes) {
    progress.done_bytes += bytes;
    meter.show(progress);
  };
  for (const auto& [tensor_a, tensor_b, sameness] : pairs) {
    const bool same = sameness == Sameness::kSame || (sameness == Sameness::kUnknown &&
                                                      same_bytes(a, tensor_a, b, tensor_b, seen));
    if (same) {
      ++result.unchanged;
    } else {
      result.changed.emplace_back(tensor_a, tensor_b);
    }
  }
  for (const auto& [name, tensor_b] : in_b) {
    if (!in_a.contains(name)) result.added.push_back(tensor_b);
  }
  std::set<std::string> recoverables(a.info().recoverables.begin(), a.info().recoverables.end());
  recoverables.insert(b.info().recoverables.begin(), b.info().recoverables.end());
  for (const std::string& recoverable : recoverables) {
    for (const auto& key : different_keys(values_of(a, recoverable), values_of(b, recoverable))) {
      result.values.push_back(recoverable + "/" + key);
    }
  }
  result.meta = different_keys(a.info().meta.map(), b.info().meta.map());
  return result;
}

std::string type_text(const TensorInfo& tensor) {
  return std::string(to_string(tensor.dtype)) + " " + shape_text(tensor.shape);
}

void print_text(const Checkpoint& a, const Checkpoint& b, const Difference& difference,
                Output& output) {
  const auto line = [&](std::string_view mark, Style style, const TensorInfo& tensor,
                        std::string_view what) {
    output.line(output.styled(fmt::format("{} {}", mark, printable(name_of(tensor))), style) +
                "  " + std::string(what));
  };
  for (const std::size_t tensor : difference.removed) {
    const TensorInfo& info = a.tensors()[tensor];
    line("-", Style::kBad, info, type_text(info));
  }
  for (const std::size_t tensor : difference.added) {
    const TensorInfo& info = b.tensors()[tensor];
    line("+", Style::kGood, info, type_text(info));
  }
  for (const auto& [tensor_a, tensor_b] : difference.changed) {
    const TensorInfo& before = a.tensors()[tensor_a];
    const TensorInfo& after = b.tensors()[tensor_b];
    const std::string what = type_text(before) == type_text(after)
                                 ? type_text(after)
                                 : type_text(before) + " -> " + type_text(after);
    line("~", Style::kHeading, after, what);
  }
  for (const std::string& value : difference.values) {
    output.line("~ " + printable(value) + "  value");
  }
  for (const std::string& key : difference.meta) {
    output.line("~ " + printable(key) + "  metadata");
  }
  output.line(fmt::format("tensors: {} added, {} removed, {} changed, {} unchanged",
                          difference.added.size(), difference.removed.size(),
                          difference.changed.size(), difference.unchanged));
}

Json tensor_json(const TensorInfo& tensor) {
  Json object;
  object["name"] = name_of(tensor);
  object["dtype"] = std::string(to_string(tensor.dtype));
  Json shape = Json::array();
  for (const std::int64_t dimension : tensor.shape) shape.push_back(json_of(dimension));
  object["shape"] = std::move(shape);
  object["bytes"] = json_of(tensor.bytes);
  return object;
}

void print_json(const Checkpoint& a, const Checkpoint& b, const Difference& difference,
                Output& output) {
  Json object = new_document();
  object["a"] = json_of(a.info().id);
  object["b"] = json_of(b.info().id);
  object["added"] = Json::array();
  object["removed"] = Json::array();
  object["changed"] = Json::array();
  for (const std::size_t tensor : difference.added) {
    object["added"].push_back(tensor_json(b.tensors()[tensor]));
  }
  for (const std::size_t tensor : difference.removed) {
    object["removed"].push_back(tensor_json(a.tensors()[tensor]));
  }
  for (const auto& [tensor_a, tensor_b] : difference.changed) {
    Json change = tensor_json(b.tensors()[tensor_b]);
    change["was"] = tensor_json(a.tensors()[tensor_a]);
    change["was"].erase("name");
    object["changed"].push_back(std::move(change));
  }
  object["unchanged"] = json_of(difference.unchanged);
  const auto texts = [](const std::vector<std::string>& words) {
    Json array = Json::array();
    for (const std::string& word : words) array.push_back(json_of(std::string_view(word)));
    return array;
  };
  object["values"] = texts(difference.values);
  object["meta"] = texts(difference.meta);
  output.line(to_text(object));
}

ExitCode run(const Invocation& invocation, Output& output) {
  const Store store = open_for_reading(invocation, output);
  std::optional<Store> other;
  if (const auto path = invocation.value("--with")) {
    other.emplace(
        open_named_for_reading(*path, invocation, output, invocation.has(kAssumeNoWriter.name)));
  }
  const Store& store_b = other ? *other : store;
  const CheckpointInfo info_a = find_checkpoint(store.checkpoints(), invocation.argument("A"));
  const CheckpointInfo info_b = find_checkpoint(store_b.checkpoints(), invocation.argument("B"));
  const Checkpoint a = expecting_checkpoints([&] { return store.open(info_a.id); });
  const Checkpoint b = expecting_checkpoints([&] { return store_b.open(info_b.id); });
  const auto print = invocation.has("--json") ? print_json : print_text;
  const auto found = [&] {
    Meter meter(output, "comparing");
    return difference(a, b, meter);
  }();
  print(a, b, found, output);
  return kDone;
}

}  // namespace

Command diff_command() {
  return {.name = "diff",
          .summary = "show which tensors differ between two checkpoints",
          .description =
              "Tensors are compared by the digests of their chunks, without reading them. Only "
              "small ones that share a chunk, where the chunk differs, and tensors of stores that "
              "cut differently are read.",
          .arguments = {kStoreArgument,
                        {.name = "A", .help = kCkptHelp},
                        {.name = "B", .help = "The same; what is new in it is added."}},
          .options = {{.name = "--with",
                       .value = "STORE2",
                       .help = "B is a checkpoint of this other store."},
                      kAssumeNoWriter},
          .examples =
              "cairn diff runs/a epoch-1 epoch-2\n"
              "cairn diff runs/a latest latest --with runs/b --json | jq '.changed[].name'",
          .run = run};
}

}  // namespace cairn::cli
