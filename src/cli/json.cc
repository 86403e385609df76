#include "json.h"

#include <cmath>
#include <cstddef>

namespace cairn::cli {
namespace {

constexpr std::int64_t kLargestExact = std::int64_t{1} << 53;

std::string base64(std::span<const std::byte> bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = bytes.size() - i;
    std::uint32_t group = 0;
    for (std::size_t j = 0; j < 3; ++j) {
      group = group << 8 | (j < left ? std::to_integer<std::uint32_t>(bytes[i + j]) : 0);
    }
    for (std::size_t j = 0; j < 4; ++j) {
      text += j <= left ? kDigits[group >> (18 - 6 * j) & 0x3F] : '=';
    }
  }
  return text;
}

}  // namespace

Json json_of(std::uint64_t number) {
  if (number > static_cast<std::uint64_t>(kLargestExact)) return std::to_string(number);
  return number;
}

Json json_of(std::int64_t number) {
  if (number > kLargestExact || number < -kLargestExact) return std::to_string(number);
  return number;
}

Json json_of(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number > 0 ? "Infinity" : "-Infinity";
  return number;
}

Json json_of(std::string_view text) {
  return std::string(text);
}

Json json_of(const MetaValue& value) {
  if (value.is_bool()) return value.as_bool();
  if (value.is_int()) return json_of(value.as_int());
  if (value.is_double()) return json_of(value.as_double());
  if (value.is_string()) return value.as_string();
  if (value.is_bytes()) return base64(value.as_bytes());
  if (value.is_map()) return json_of(value.as_map());
  Json list = Json::array();
  for (const MetaValue& element : value.as_list()) list.push_back(json_of(element));
  return list;
}

Json json_of(const MetaValue::Map& map) {
  Json object = Json::object();
  for (const auto& [key, value] : map) object[key] = json_of(value);
  return object;
}

Json new_document() {
  return {{"json_version", kJsonVersion}};
}

Json document_of(const CheckpointInfo& checkpoint) {
  Json document = new_document();
  document.update(json_of(checkpoint));
  return document;
}

Json json_of(const CheckpointInfo& checkpoint) {
  Json object;
  object["id"] = json_of(checkpoint.id);
  object["name"] = checkpoint.name;
  object["sequence"] = json_of(checkpoint.sequence);
  object["created_unix_ns"] = checkpoint.created_unix_ns;
  object["meta"] = json_of(checkpoint.meta.map());
  object["tensors"] = json_of(checkpoint.tensors);
  object["logical_bytes"] = json_of(checkpoint.logical_bytes);
  object["pinned"] = checkpoint.pinned;
  object["damaged"] = checkpoint.damaged;
  return object;
}

Json json_of(std::span<const CheckpointInfo> checkpoints) {
  Json list = Json::array();
  for (const CheckpointInfo& checkpoint : checkpoints) list.push_back(json_of(checkpoint));
  return list;
}

Json json_of(const Damage& damage) {
  Json object;
  object["what"] = damage.what;
  object["message"] = damage.message;
  object["pack_offset"] = json_of(damage.pack_offset);
  object["bytes"] = json_of(damage.bytes);
  Json touches = Json::array();
  for (const DamagedTensor& one : damage.touches) {
    touches.push_back({{"checkpoint_id", json_of(one.checkpoint_id)},
                       {"checkpoint_name", one.checkpoint_name},
                       {"tensor", one.tensor}});
  }
  object["touches"] = std::move(touches);
  return object;
}

Json json_of(std::span<const Damage> damages) {
  Json list = Json::array();
  for (const Damage& damage : damages) list.push_back(json_of(damage));
  return list;
}

std::string to_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace cairn::cli
