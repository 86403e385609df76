#include <cairn/error.h>
#include <cairn/meta_value.h>

#include <algorithm>
#include <array>

namespace cairn {
namespace {

// In the order of the variant's alternatives.
constexpr std::array<std::string_view, 7> kTypeNames = {"bool",  "i64",  "f64", "string",
                                                        "bytes", "list", "map"};

template <typename T, typename Variant>
const T& get_as(const Variant& value, std::string_view actual, std::string_view wanted) {
  if (const T* held = std::get_if<T>(&value)) return *held;
  throw Error(ErrorCode::kMismatch,
              "the value is of type " + std::string(actual) + ", not " + std::string(wanted));
}

}  // namespace

bool MetaValue::as_bool() const {
  return get_as<bool>(value_, type_name(), "bool");
}
std::int64_t MetaValue::as_int() const {
  return get_as<std::int64_t>(value_, type_name(), "i64");
}
double MetaValue::as_double() const {
  if (is_int()) return static_cast<double>(std::get<std::int64_t>(value_));
  return get_as<double>(value_, type_name(), "f64");
}
const std::string& MetaValue::as_string() const {
  return get_as<std::string>(value_, type_name(), "string");
}
const MetaValue::Bytes& MetaValue::as_bytes() const {
  return get_as<Bytes>(value_, type_name(), "bytes");
}
const MetaValue::List& MetaValue::as_list() const {
  return get_as<List>(value_, type_name(), "list");
}
const MetaValue::Map& MetaValue::as_map() const {
  return get_as<Map>(value_, type_name(), "map");
}

std::string_view MetaValue::type_name() const noexcept {
  return kTypeNames[value_.index()];
}

int MetaValue::depth() const noexcept {
  int deepest = 0;
  if (const auto* list = std::get_if<List>(&value_)) {
    for (const MetaValue& element : *list) deepest = std::max(deepest, element.depth());
  } else if (const auto* map = std::get_if<Map>(&value_)) {
    for (const auto& [key, element] : *map) deepest = std::max(deepest, element.depth());
  } else {
    return 0;
  }
  return 1 + deepest;
}

void MetaValue::throw_out_of_range() {
  throw Error(ErrorCode::kInvalidArgument,
              "an unsigned value above 9223372036854775807 does not fit into an i64");
}

}  // namespace cairn
