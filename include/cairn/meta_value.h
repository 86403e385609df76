// Typed values: the metadata of checkpoints and the values that recoverables save beside tensors.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace cairn {

/// A bool, int64, double, string, byte string, list or map; nothing in it is ever executed.
///
/// Constructors are constrained so that text becomes a string and never a bool, and every integer
/// type becomes an int64 (an unsigned value beyond its range throws `invalid_argument`).
/// Limits: lists and maps nest at most `kMaxDepth` deep; checked when a checkpoint is saved.
class MetaValue {
 public:
  using Bytes = std::vector<std::byte>;
  using List = std::vector<MetaValue>;
  using Map = std::map<std::string, MetaValue, std::less<>>;

  static constexpr int kMaxDepth = 16;

  template <std::same_as<bool> T>
  MetaValue(T value) : value_(value) {}  // NOLINT(google-explicit-constructor)
  template <std::integral T>
  requires(!std::same_as<T, bool>) MetaValue(T value)
      : value_(checked_integer(value)) {}  // NOLINT(google-explicit-constructor)
  template <std::floating_point T>
  MetaValue(T value)  // NOLINT(google-explicit-constructor)
      : value_(static_cast<double>(value)) {}
  MetaValue(const char* text) : value_(std::string(text)) {}  // NOLINT(google-explicit-constructor)
  MetaValue(std::string_view text)
      : value_(std::string(text)) {}                        // NOLINT(google-explicit-constructor)
  MetaValue(std::string text) : value_(std::move(text)) {}  // NOLINT(google-explicit-constructor)
  MetaValue(Bytes bytes) : value_(std::move(bytes)) {}      // NOLINT(google-explicit-constructor)
  MetaValue(List list) : value_(std::move(list)) {}         // NOLINT(google-explicit-constructor)
  MetaValue(Map map) : value_(std::move(map)) {}            // NOLINT(google-explicit-constructor)
  MetaValue(std::nullptr_t) = delete;

  bool is_bool() const noexcept { return std::holds_alternative<bool>(value_); }
  bool is_int() const noexcept { return std::holds_alternative<std::int64_t>(value_); }
  bool is_double() const noexcept { return std::holds_alternative<double>(value_); }
  bool is_number() const noexcept { return is_int() || is_double(); }
  bool is_string() const noexcept { return std::holds_alternative<std::string>(value_); }
  bool is_bytes() const noexcept { return std::holds_alternative<Bytes>(value_); }
  bool is_list() const noexcept { return std::holds_alternative<List>(value_); }
  bool is_map() const noexcept { return std::holds_alternative<Map>(value_); }

  /// The value as that type. Errors: mismatch when it holds another one.
  bool as_bool() const;
  std::int64_t as_int() const;
  double as_double() const;  ///< Of a double or an int.
  const std::string& as_string() const;
  const Bytes& as_bytes() const;
  const List& as_list() const;
  const Map& as_map() const;

  /// "bool", "i64", "f64", "string", "bytes", "list" or "map".
  std::string_view type_name() const noexcept;

  /// 0 for a scalar, 1 + the deepest element for a list or map.
  int depth() const noexcept;

  /// Same type and same value; doubles compare as IEEE 754 does, so NaN differs from NaN.
  friend bool operator==(const MetaValue& a, const MetaValue& b) { return a.value_ == b.value_; }

 private:
  template <std::integral T>
  static std::int64_t checked_integer(T value) {
    if constexpr (std::unsigned_integral<T> && sizeof(T) >= sizeof(std::int64_t)) {
      if (value > static_cast<T>(std::numeric_limits<std::int64_t>::max())) throw_out_of_range();
    }
    return static_cast<std::int64_t>(value);
  }
  [[noreturn]] static void throw_out_of_range();

  std::variant<bool, std::int64_t, double, std::string, Bytes, List, Map> value_;
};

/// What a checkpoint says about itself: named values, e.g. {{"loss", 13.1}, {"kind", "full"}}.
///
/// Every checkpoint also carries "unixtime" (seconds, f64) and "end-of-epoch" (bool) unless the
/// caller gave them; they inform and never decide an order.
class Metadata {
 public:
  using Map = MetaValue::Map;
  using const_iterator = Map::const_iterator;

  Metadata() = default;
  Metadata(std::initializer_list<Map::value_type> entries) : map_(entries) {}
  explicit Metadata(Map map) : map_(std::move(map)) {}

  /// The value under `key`, or nothing; `meta.get("kind") == "full"` is false when it is absent.
  std::optional<MetaValue> get(std::string_view key) const {
    const MetaValue* value = find(key);
    return value != nullptr ? std::optional<MetaValue>(*value) : std::nullopt;
  }
  /// The same without a copy; null when absent. Lifetime: until the metadata changes.
  const MetaValue* find(std::string_view key) const {
    const auto it = map_.find(key);
    return it == map_.end() ? nullptr : &it->second;
  }
  bool contains(std::string_view key) const { return map_.find(key) != map_.end(); }
  void set(std::string key, MetaValue value) {
    map_.insert_or_assign(std::move(key), std::move(value));
  }
  std::size_t size() const noexcept { return map_.size(); }
  bool empty() const noexcept { return map_.empty(); }
  const Map& map() const noexcept { return map_; }
  const_iterator begin() const noexcept { return map_.begin(); }
  const_iterator end() const noexcept { return map_.end(); }

  friend bool operator==(const Metadata&, const Metadata&) = default;

 private:
  Map map_;
};

}  // namespace cairn
