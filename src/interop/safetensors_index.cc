#include "interop/safetensors_index.h"

#include "base/text.h"

#include <cairn/error.h>

#include <nlohmann/json.hpp>

#include <cmath>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace cairn::interop {
namespace {

using Json = nlohmann::json;

/// The format needs two levels; metadata may nest as deep as Cairn's values do.
constexpr int kMaxDepth = MetaValue::kMaxDepth + 2;

class IndexParser {
 public:
  explicit IndexParser(const std::filesystem::path& file) : file_(file) {}

  SafetensorsIndex parse(std::string_view text) {
    const Json json = parse_json(text);
    if (!json.is_object()) fail("it is no object");
    SafetensorsIndex index;
    if (const auto metadata = json.find("metadata"); metadata != json.end()) {
      if (!metadata->is_object() && !metadata->is_null()) fail("its metadata are no object");
      for (const auto& [key, value] : metadata->items()) {
        if (auto converted = convert(value)) index.metadata.emplace(key, *std::move(converted));
      }
    }
    const auto map = json.find("weight_map");
    if (map == json.end() || !map->is_object()) {
      fail("it has no weight_map that says which file holds which tensor");
    }
    for (const auto& [tensor, shard] : map->items()) {
      index.shard_of.emplace(tensor, shard_name(tensor, shard));
    }
    return index;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::kDamaged, "the index of shards is malformed: " + what, {.path = file_});
  }

  Json parse_json(std::string_view text) const {
    std::vector<std::set<std::string>> keys;
    const auto watch = [&](int depth, Json::parse_event_t event, const Json& parsed) {
      if (depth > kMaxDepth) fail("it is nested deeper than " + std::to_string(kMaxDepth));
      if (event == Json::parse_event_t::object_start) keys.emplace_back();
      if (event == Json::parse_event_t::object_end) keys.pop_back();
      if (event == Json::parse_event_t::key &&
          !keys.back().insert(parsed.get_ref<const std::string&>()).second) {
        fail("it has the key " + base::quoted(parsed.get_ref<const std::string&>()) + " twice");
      }
      return true;
    };
    try {
      return Json::parse(text, watch);
    } catch (const Json::parse_error& error) {
      throw Error(ErrorCode::kDamaged, "the index of shards is no valid JSON",
                  {.path = file_, .offset = error.byte > 0 ? error.byte - 1 : 0});
    } catch (const Json::exception&) {  // a number that nothing can hold
      fail("it holds a number that is out of range");
    }
  }

  // A name with a directory in it would lead out of the directory that the user named.
  std::string shard_name(const std::string& tensor, const Json& shard) const {
    if (!shard.is_string()) fail("the file of tensor " + base::quoted(tensor) + " is no text");
    const auto& name = shard.get_ref<const std::string&>();
    if (name.empty() || name == "." || name == ".." ||
        name.find_first_of("/\\") != std::string::npos || base::has_control_characters(name)) {
      fail("tensor " + base::quoted(tensor) + " is said to lie in " + base::quoted(name) +
           ", which is not the name of a file beside the index; it is refused");
    }
    return name;
  }

  std::optional<MetaValue> convert(const Json& json) const {
    if (json.is_boolean()) return MetaValue(json.get<bool>());
    if (json.is_number_unsigned() &&
        json.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
      return MetaValue(json.get<double>());
    }
    if (json.is_number_integer()) return MetaValue(json.get<std::int64_t>());
    if (json.is_number_float()) return MetaValue(json.get<double>());
    if (json.is_string()) return MetaValue(json.get_ref<const std::string&>());
    if (json.is_array()) {
      MetaValue::List list;
      for (const Json& item : json) {
        if (auto converted = convert(item)) list.push_back(*std::move(converted));
      }
      return MetaValue(std::move(list));
    }
    if (json.is_object()) {
      MetaValue::Map map;
      for (const auto& [key, item] : json.items()) {
        if (auto converted = convert(item)) map.emplace(key, *std::move(converted));
      }
      return MetaValue(std::move(map));
    }
    return std::nullopt;  // null
  }

  const std::filesystem::path& file_;
};

std::optional<Json> json_of(const MetaValue& value) {
  if (value.is_bool()) return value.as_bool();
  if (value.is_int()) return value.as_int();
  if (value.is_double() && std::isfinite(value.as_double())) return value.as_double();
  if (value.is_string()) return value.as_string();
  if (value.is_list()) {
    Json list = Json::array();
    for (const MetaValue& item : value.as_list()) {
      if (auto json = json_of(item)) list.push_back(*std::move(json));
    }
    return list;
  }
  if (value.is_map()) {
    Json map = Json::object();
    for (const auto& [key, item] : value.as_map()) {
      if (auto json = json_of(item)) map[key] = *std::move(json);
    }
    return map;
  }
  return std::nullopt;
}

}  // namespace

SafetensorsIndex parse_safetensors_index(std::string_view text, const std::filesystem::path& file) {
  return IndexParser(file).parse(text);
}

std::string format_safetensors_index(const SafetensorsIndex& index) {
  Json json = Json::object();
  json["metadata"] = json_of(MetaValue(index.metadata)).value();
  json["weight_map"] = index.shard_of;
  return json.dump(2) + "\n";
}

}  // namespace cairn::interop
