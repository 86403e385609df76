#include "format/value_codec.h"

#include "base/text.h"
#include "format/names.h"

#include <bit>
#include <string>
#include <vector>

namespace cairn::format {
namespace {

constexpr std::string_view kMetadata = "metadata";

// ---- weight -----------------------------------------------------------------------------------

// A table with its vectors' lengths and padding: at most 24 + 3 * 8 bytes.
constexpr std::uint64_t kValueWeight = 48;
// An offset, and for a map's element the length of its key.
constexpr std::uint64_t kElementWeight = 8;

/// Adds up weights; refuses what no decoder would take.
class Scale {
 public:
  Scale(std::string_view what, ErrorCode code) : what_(what), code_(code) {}

  std::uint64_t weight() const { return weight_; }

  void add_map(const MetaValue::Map& map, int depth_left) {
    weight_ += kValueWeight;
    for (const auto& [key, value] : map) {
      validate_key(key, fmt::format("{} key", what_), code_);
      weight_ += kElementWeight + key.size();
      add(value, depth_left);
    }
  }

 private:
  void add(const MetaValue& value, int depth_left) {
    if (value.is_map()) {
      check_depth(depth_left);
      add_map(value.as_map(), depth_left - 1);
    } else if (value.is_list()) {
      check_depth(depth_left);
      weight_ += kValueWeight;
      for (const MetaValue& item : value.as_list()) {
        weight_ += kElementWeight;
        add(item, depth_left - 1);
      }
    } else {
      weight_ += kValueWeight;
      if (value.is_string()) {
        if (!base::is_utf8(value.as_string())) {
          fail(code_, "a string in the {} is not UTF-8: {}", what_,
               base::quoted(value.as_string()));
        }
        weight_ += value.as_string().size();
      } else if (value.is_bytes()) {
        weight_ += value.as_bytes().size();
      }
    }
  }

  void check_depth(int depth_left) const {
    if (depth_left == 0) {
      fail(code_, "lists and maps in the {} nest deeper than {}", what_, MetaValue::kMaxDepth);
    }
  }

  std::string_view what_;
  ErrorCode code_;
  std::uint64_t weight_ = 0;
};

void check_metadata_weight(std::uint64_t weight, ErrorCode code) {
  if (weight > kMaxMetaBytes) {
    fail(code, "the metadata weighs {} bytes; at most {} are allowed", weight, kMaxMetaBytes);
  }
}

// ---- encoding ---------------------------------------------------------------------------------

using Builder = flatbuffers::FlatBufferBuilder;
using ValueOffset = flatbuffers::Offset<fb::Value>;

ValueOffset encode_value(Builder& builder, const MetaValue& value);

ValueOffset encode_scalar(Builder& builder, fb::ValueKind kind, std::int64_t integer) {
  fb::ValueBuilder table(builder);
  table.add_integer(integer);
  table.add_kind(kind);
  return table.Finish();
}

ValueOffset encode_real(Builder& builder, double real) {
  fb::ValueBuilder table(builder);
  table.add_real(real);
  table.add_kind(fb::ValueKind::Double);
  return table.Finish();
}

ValueOffset encode_bytes(Builder& builder, fb::ValueKind kind, const void* begin,
                         std::size_t byte_count) {
  flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> bytes;
  if (byte_count != 0) {
    bytes = builder.CreateVector(static_cast<const std::uint8_t*>(begin), byte_count);
  }
  fb::ValueBuilder table(builder);
  if (!bytes.IsNull()) table.add_bytes(bytes);
  table.add_kind(kind);
  return table.Finish();
}

ValueOffset encode_list(Builder& builder, const MetaValue::List& list) {
  std::vector<ValueOffset> offsets;
  offsets.reserve(list.size());
  for (const MetaValue& item : list) offsets.push_back(encode_value(builder, item));
  flatbuffers::Offset<flatbuffers::Vector<ValueOffset>> items;
  if (!offsets.empty()) items = builder.CreateVector(offsets);
  fb::ValueBuilder table(builder);
  if (!items.IsNull()) table.add_items(items);
  table.add_kind(fb::ValueKind::List);
  return table.Finish();
}

ValueOffset encode_map(Builder& builder, const MetaValue::Map& map) {
  std::vector<ValueOffset> offsets;
  std::vector<std::uint32_t> lengths;
  std::string all_keys;
  offsets.reserve(map.size());
  lengths.reserve(map.size());
  for (const auto& [key, value] : map) {
    offsets.push_back(encode_value(builder, value));
    lengths.push_back(static_cast<std::uint32_t>(key.size()));
    all_keys += key;
  }
  flatbuffers::Offset<flatbuffers::Vector<ValueOffset>> items;
  flatbuffers::Offset<flatbuffers::Vector<std::uint8_t>> keys;
  flatbuffers::Offset<flatbuffers::Vector<std::uint32_t>> key_lengths;
  if (!offsets.empty()) {
    items = builder.CreateVector(offsets);
    key_lengths = builder.CreateVector(lengths);
  }
  if (!all_keys.empty()) {
    keys = builder.CreateVector(reinterpret_cast<const std::uint8_t*>(all_keys.data()),
                                all_keys.size());
  }
  fb::ValueBuilder table(builder);
  if (!key_lengths.IsNull()) table.add_key_lengths(key_lengths);
  if (!keys.IsNull()) table.add_keys(keys);
  if (!items.IsNull()) table.add_items(items);
  table.add_kind(fb::ValueKind::Map);
  return table.Finish();
}

ValueOffset encode_value(Builder& builder, const MetaValue& value) {
  if (value.is_bool()) {
    return encode_scalar(builder, fb::ValueKind::Bool, value.as_bool() ? 1 : 0);
  }
  if (value.is_int()) return encode_scalar(builder, fb::ValueKind::Int, value.as_int());
  if (value.is_double()) return encode_real(builder, value.as_double());
  if (value.is_string()) {
    const std::string& text = value.as_string();
    return encode_bytes(builder, fb::ValueKind::String, text.data(), text.size());
  }
  if (value.is_bytes()) {
    const MetaValue::Bytes& bytes = value.as_bytes();
    return encode_bytes(builder, fb::ValueKind::Bytes, bytes.data(), bytes.size());
  }
  if (value.is_list()) return encode_list(builder, value.as_list());
  return encode_map(builder, value.as_map());
}

// ---- decoding ---------------------------------------------------------------------------------

class Decoder {
 public:
  Decoder(Budget& budget, std::string_view what) : budget_(budget), what_(what) {}

  MetaValue::Map decode_map(const fb::Value& value, int depth_left) {
    check_unused(value, {.items = true, .keys = true});
    const auto* items = value.items();
    const std::size_t count = items == nullptr ? 0 : items->size();
    const std::span<const std::uint8_t> all_keys = elements(value.keys(), "keys");
    const std::span<const std::uint32_t> lengths = elements(value.key_lengths(), "key lengths");
    if (lengths.size() != count) {
      fail(ErrorCode::kDamaged, "a map in the {} has {} values but {} keys", what_, count,
           lengths.size());
    }
    budget_.spend(lengths.size_bytes() + all_keys.size());
    MetaValue::Map map;
    std::string_view rest = as_text(all_keys);
    for (std::size_t i = 0; i < count; ++i) {
      if (lengths[i] > rest.size()) {
        fail(ErrorCode::kDamaged, "a key of a map in the {} runs beyond the keys", what_);
      }
      const std::string_view key = rest.substr(0, lengths[i]);
      rest.remove_prefix(lengths[i]);
      validate_key(key, fmt::format("{} key", what_), ErrorCode::kDamaged);
      if (!map.empty() && key <= map.rbegin()->first) {
        fail(ErrorCode::kDamaged, "the keys of a map in the {} are not ascending: {} after {}",
             what_, base::quoted(key), base::quoted(map.rbegin()->first));
      }
      map.emplace_hint(map.end(), key,
                       decode(*items->Get(static_cast<std::uint32_t>(i)), depth_left));
    }
    if (!rest.empty()) {
      fail(ErrorCode::kDamaged, "{} bytes of the keys of a map in the {} belong to no key",
           rest.size(), what_);
    }
    return map;
  }

 private:
  struct Fields {
    bool integer = false;
    bool real = false;
    bool bytes = false;
    bool items = false;
    bool keys = false;
  };

  MetaValue decode(const fb::Value& value, int depth_left) {
    budget_.spend(kLeastTableBytes);
    switch (value.kind()) {
      case fb::ValueKind::Bool: {
        check_unused(value, {.integer = true});
        if (value.integer() != 0 && value.integer() != 1) {
          fail(ErrorCode::kDamaged, "a bool in the {} is {}", what_, value.integer());
        }
        return value.integer() == 1;
      }
      case fb::ValueKind::Int:
        check_unused(value, {.integer = true});
        return value.integer();
      case fb::ValueKind::Double:
        check_unused(value, {.real = true});
        return value.real();
      case fb::ValueKind::String:
        return decode_string(value);
      case fb::ValueKind::Bytes:
        return decode_bytes(value);
      case fb::ValueKind::List:
        check_depth(depth_left);
        return decode_list(value, depth_left - 1);
      case fb::ValueKind::Map:
        check_depth(depth_left);
        return decode_map(value, depth_left - 1);
      case fb::ValueKind::None:
        break;
    }
    fail(ErrorCode::kDamaged, "a value in the {} has the unknown kind {}", what_,
         static_cast<int>(value.kind()));
  }

  MetaValue decode_string(const fb::Value& value) {
    check_unused(value, {.bytes = true});
    const std::string_view text = as_text(elements(value.bytes(), "bytes"));
    budget_.spend(text.size());
    if (!base::is_utf8(text)) {
      fail(ErrorCode::kDamaged, "a string in the {} is not UTF-8: {}", what_, base::quoted(text));
    }
    return std::string(text);
  }

  MetaValue decode_bytes(const fb::Value& value) {
    check_unused(value, {.bytes = true});
    const std::span<const std::byte> bytes = std::as_bytes(elements(value.bytes(), "bytes"));
    budget_.spend(bytes.size());
    return MetaValue::Bytes(bytes.begin(), bytes.end());
  }

  MetaValue decode_list(const fb::Value& value, int depth_left) {
    check_unused(value, {.items = true});
    MetaValue::List list;
    if (value.items() == nullptr) return list;
    // Spent again for each element: a list that is shared is refused before it takes memory.
    Budget enough = budget_;
    enough.spend(value.items()->size() * kLeastTableBytes);
    list.reserve(value.items()->size());
    for (const fb::Value* item : *value.items()) list.push_back(decode(*item, depth_left));
    return list;
  }

  void check_depth(int depth_left) const {
    if (depth_left == 0) {
      fail(ErrorCode::kDamaged, "lists and maps in the {} nest deeper than {}", what_,
           MetaValue::kMaxDepth);
    }
  }

  void check_unused(const fb::Value& value, const Fields& used) const {
    if ((!used.integer && value.integer() != 0) ||
        (!used.real && std::bit_cast<std::uint64_t>(value.real()) != 0) ||
        (!used.bytes && value.bytes() != nullptr) || (!used.items && value.items() != nullptr) ||
        (!used.keys && (value.keys() != nullptr || value.key_lengths() != nullptr))) {
      fail(ErrorCode::kDamaged, "a value in the {} of kind {} has a field of another kind", what_,
           static_cast<int>(value.kind()));
    }
  }

  Budget& budget_;
  std::string_view what_;
};

}  // namespace

std::uint64_t weigh_values(const MetaValue::Map& values, std::string_view what) {
  Scale scale(what, ErrorCode::kInvalidArgument);
  scale.add_map(values, MetaValue::kMaxDepth);
  return scale.weight();
}

std::uint64_t weigh_metadata(const Metadata& meta) {
  const std::uint64_t weight = weigh_values(meta.map(), kMetadata);
  check_metadata_weight(weight, ErrorCode::kInvalidArgument);
  return weight;
}

flatbuffers::Offset<fb::Value> encode_values(flatbuffers::FlatBufferBuilder& builder,
                                             const MetaValue::Map& values) {
  if (values.empty()) return {};
  // Else a zero would be left out, and with it the sign of -0.0, which equals the default.
  builder.ForceDefaults(true);
  const ValueOffset offset = encode_map(builder, values);
  builder.ForceDefaults(false);
  return offset;
}

MetaValue::Map decode_values(const fb::Value* values, Budget& budget, std::string_view what) {
  if (values == nullptr) return {};
  budget.spend(kLeastTableBytes);
  if (values->kind() != fb::ValueKind::Map) {
    fail(ErrorCode::kDamaged, "the {} are no map, but of kind {}", what,
         static_cast<int>(values->kind()));
  }
  return Decoder(budget, what).decode_map(*values, MetaValue::kMaxDepth);
}

Metadata decode_metadata(const fb::Value* meta, Budget& budget) {
  MetaValue::Map map = decode_values(meta, budget, kMetadata);
  Scale scale(kMetadata, ErrorCode::kDamaged);
  scale.add_map(map, MetaValue::kMaxDepth);
  check_metadata_weight(scale.weight(), ErrorCode::kDamaged);
  return Metadata(std::move(map));
}

}  // namespace cairn::format
