// What the tool prints with --json.
//
// NaN and infinities are the strings "NaN", "Infinity" and "-Infinity" (as in the JSON mapping of
// protocol buffers; float() of Python reads them), bytes are base64, integers beyond 2^53 strings.
#pragma once

#include <cairn/checkpoint.h>
#include <cairn/meta_value.h>
#include <cairn/store.h>

#include <nlohmann/json.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

using Json = nlohmann::ordered_json;

/// Of docs/json.md: grows when a field goes or comes to mean something else, not when one is added.
inline constexpr int kJsonVersion = 1;
/// What is printed by itself, or as an element of the list that is: begins with the version.
Json new_document();

Json json_of(std::uint64_t number);
Json json_of(std::int64_t number);
Json json_of(double number);
Json json_of(std::string_view text);
Json json_of(const MetaValue& value);
Json json_of(const MetaValue::Map& map);
/// The object that stands for a checkpoint wherever one is printed.
Json json_of(const CheckpointInfo& checkpoint);
Json json_of(std::span<const CheckpointInfo> checkpoints);
/// The same as a document.
Json document_of(const CheckpointInfo& checkpoint);
Json json_of(const Damage& damage);
Json json_of(std::span<const Damage> damages);

/// The value in one line, always valid UTF-8.
std::string to_text(const Json& value);

}  // namespace cairn::cli
