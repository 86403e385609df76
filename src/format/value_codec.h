// Typed values inside a payload.
#pragma once

#include "format/pack_generated.h"
#include "format/payload.h"

#include <cairn/meta_value.h>

#include <cstdint>
#include <string_view>

namespace cairn::format {

/// What a map of values weighs: an upper bound of what it takes in a payload, by a rule that
/// SPEC.md states: 48 for each map, list, string, byte string and scalar, and besides its bytes for
/// a string or byte string, and 8 and the key's bytes for each element of a list or map.
/// Errors: invalid_argument for what encode_values refuses (`what` names the map in the message).
std::uint64_t weigh_values(const MetaValue::Map& values, std::string_view what);

/// As weigh_values, and at most kMaxMetaBytes. Errors: invalid_argument.
std::uint64_t weigh_metadata(const Metadata& meta);

/// The values as a table; null (an absent field) when there are none. The caller has weighed them.
flatbuffers::Offset<fb::Value> encode_values(flatbuffers::FlatBufferBuilder& builder,
                                             const MetaValue::Map& values);

/// Inverse of encode_values; checks kinds, UTF-8, ascending unique keys, nesting of at most
/// MetaValue::kMaxDepth below the map itself. Errors: damaged.
MetaValue::Map decode_values(const fb::Value* values, Budget& budget, std::string_view what);

/// As decode_values, and within kMaxMetaBytes. Errors: damaged.
Metadata decode_metadata(const fb::Value* meta, Budget& budget);

}  // namespace cairn::format
