#include "interop/safetensors_header.h"

#include "base/checked.h"
#include "base/text.h"

#include <cairn/error.h>

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <iterator>
#include <limits>
#include <utility>

namespace cairn::interop {
namespace {

constexpr int kMaxDepth = 128;  // What the format's own reader allows; the format itself needs 3.
constexpr std::size_t kMaxRank = 64;

struct DTypeName {
  DType dtype;
  std::string_view name;
};

// By rising alignment, as in the format's own list.
constexpr std::array<DTypeName, 22> kDTypes{{
    {DType::kBool, "BOOL"},
    {DType::kF4E2M1, "F4"},
    {DType::kF6E2M3, "F6_E2M3"},
    {DType::kF6E3M2, "F6_E3M2"},
    {DType::kU8, "U8"},
    {DType::kI8, "I8"},
    {DType::kF8E5M2, "F8_E5M2"},
    {DType::kF8E4M3FN, "F8_E4M3"},
    {DType::kF8E8M0FNU, "F8_E8M0"},
    {DType::kF8E4M3FNUZ, "F8_E4M3FNUZ"},
    {DType::kF8E5M2FNUZ, "F8_E5M2FNUZ"},
    {DType::kI16, "I16"},
    {DType::kU16, "U16"},
    {DType::kF16, "F16"},
    {DType::kBF16, "BF16"},
    {DType::kI32, "I32"},
    {DType::kU32, "U32"},
    {DType::kF32, "F32"},
    {DType::kC64, "C64"},
    {DType::kF64, "F64"},
    {DType::kI64, "I64"},
    {DType::kU64, "U64"},
}};

std::optional<DType> dtype_of(std::string_view name) noexcept {
  const auto it = std::find_if(kDTypes.begin(), kDTypes.end(),
                               [&](const DTypeName& row) { return row.name == name; });
  return it == kDTypes.end() ? std::nullopt : std::optional<DType>(it->dtype);
}

// Receives the parser's events. The parser keeps its own stack on the heap, so depth costs a bit
// each, and is limited here. Every method throws or goes on.
class HeaderReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderReader(const std::filesystem::path& file) : file_(file) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override {
    // The format's own reader takes a null for absent metadata.
    if (place_ == Place::kTop && key_ == kMetadataKey) return true;
    return scalar("null");
  }
  bool boolean(bool) override { return scalar("a boolean"); }
  bool number_integer(number_integer_t) override { return scalar("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return scalar("a number that is no integer in range");
  }
  bool number_unsigned(number_unsigned_t value) override {
    if (place_ == Place::kShape) {
      if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
        fail("a dimension of tensor " + base::quoted(entry_.name) + " is out of range");
      }
      if (entry_.shape.size() == kMaxRank) {
        fail("tensor " + base::quoted(entry_.name) + " has more than " + std::to_string(kMaxRank) +
             " dimensions");
      }
      entry_.shape.push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (place_ == Place::kOffsets) {
      if (offsets_ == 2) fail_offsets();
      (offsets_++ == 0 ? entry_.begin : entry_.end) = value;
      return true;
    }
    return scalar("a number");
  }
  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) {
      if (!header_.metadata->emplace(key_, std::move(value)).second) fail_duplicate(key_);
      return true;
    }
    if (place_ == Place::kTensor && key_ == "dtype") {
      const auto dtype = dtype_of(value);
      if (!dtype) {
        fail("tensor " + base::quoted(entry_.name) + " has the unknown dtype " +
             base::quoted(value));
      }
      entry_.dtype = *dtype;
      return true;
    }
    return scalar("a string");
  }
  bool binary(binary_t&) override { return scalar("binary data"); }

  bool start_object(std::size_t) override {
    descend();
    if (place_ == Place::kOutside) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop && key_ == kMetadataKey) {
      header_.metadata.emplace();
      place_ = Place::kMetadata;
    } else if (place_ == Place::kTop) {
      entry_ = {.name = key_};
      has_dtype_ = has_shape_ = has_offsets_ = false;
      place_ = Place::kTensor;
    } else {
      skip("an object");
    }
    return true;
  }
  bool start_array(std::size_t) override {
    descend();
    if (place_ == Place::kTensor && key_ == "shape") {
      place_ = Place::kShape;
    } else if (place_ == Place::kTensor && key_ == "data_offsets") {
      offsets_ = 0;
      place_ = Place::kOffsets;
    } else {
      skip("a list");
    }
    return true;
  }
  bool key(string_t& value) override {
    key_ = std::move(value);
    if (place_ == Place::kTop && key_ == kMetadataKey) mark(saw_metadata_);
    if (place_ == Place::kTensor) {
      if (key_ == "dtype") mark(has_dtype_);
      if (key_ == "shape") mark(has_shape_);
      if (key_ == "data_offsets") mark(has_offsets_);
    }
    return true;
  }
  bool end_object() override {
    --depth_;
    if (place_ == Place::kSkipped) {
      unskip();
    } else if (place_ == Place::kTensor) {
      finish_entry();
      place_ = Place::kTop;
    } else {
      place_ = place_ == Place::kMetadata ? Place::kTop : Place::kOutside;
    }
    return true;
  }
  bool end_array() override {
    --depth_;
    if (place_ == Place::kSkipped) {
      unskip();
    } else {
      if (place_ == Place::kOffsets && offsets_ != 2) fail_offsets();
      place_ = Place::kTensor;
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& problem) override {
    constexpr int kNumberOverflow = 406;
    throw Error(ErrorCode::kDamaged,
                problem.id == kNumberOverflow ? "the header holds a number that is out of range"
                                              : "the header is no valid JSON",
                {.path = file_, .offset = kLengthBytes + position});
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kShape, kOffsets, kSkipped };

  [[noreturn]] void fail(std::string_view message) const {
    throw Error(ErrorCode::kDamaged, message, {.path = file_});
  }
  [[noreturn]] void fail_duplicate(std::string_view key) const {
    fail("the header has the key " + base::quoted(key) + " twice");
  }
  [[noreturn]] void fail_offsets() const {
    fail("data_offsets of tensor " + base::quoted(entry_.name) + " are not two numbers");
  }

  void mark(bool& seen) const {
    if (seen) fail_duplicate(key_);
    seen = true;
  }

  void descend() {
    if (++depth_ > kMaxDepth) {
      fail("the header is nested more than " + std::to_string(kMaxDepth) + " levels deep");
    }
  }

  // A value where the format has none: an error, unless it belongs to a field that is unknown,
  // which the format's own reader ignores too.
  void check_ignored(std::string_view what) const {
    switch (place_) {
      case Place::kOutside:
        fail("the header is " + std::string(what) + ", not an object");
      case Place::kTop:
        fail("the header has " + std::string(what) + " under " + base::quoted(key_) +
             " where an object must stand");
      case Place::kMetadata:
        fail("the value of " + base::quoted(key_) + " in __metadata__ is " + std::string(what) +
             ", not a string");
      case Place::kShape:
        fail("the shape of tensor " + base::quoted(entry_.name) + " holds " + std::string(what));
      case Place::kOffsets:
        fail("data_offsets of tensor " + base::quoted(entry_.name) + " hold " + std::string(what));
      case Place::kTensor:
        if (key_ == "dtype" || key_ == "shape" || key_ == "data_offsets") {
          fail(key_ + " of tensor " + base::quoted(entry_.name) + " is " + std::string(what));
        }
        break;
      case Place::kSkipped:
        break;
    }
  }

  bool scalar(std::string_view what) const {
    check_ignored(what);
    return true;
  }

  void skip(std::string_view what) {
    check_ignored(what);
    if (place_ == Place::kTensor) {
      place_ = Place::kSkipped;
      skipped_from_ = depth_;
    }
  }
  void unskip() {
    if (depth_ < skipped_from_) place_ = Place::kTensor;
  }

  void finish_entry() {
    if (!has_dtype_ || !has_shape_ || !has_offsets_) {
      fail("tensor " + base::quoted(entry_.name) + " lacks its " +
           (!has_dtype_   ? "dtype"
            : !has_shape_ ? "shape"
                          : "data_offsets"));
    }
    header_.entries.push_back(std::move(entry_));
  }

  const std::filesystem::path& file_;
  SafetensorsHeader header_;
  Place place_ = Place::kOutside;
  int depth_ = 0;
  int skipped_from_ = 0;
  std::string key_;
  bool saw_metadata_ = false;
  SafetensorsEntry entry_;
  bool has_dtype_ = false;
  bool has_shape_ = false;
  bool has_offsets_ = false;
  int offsets_ = 0;
};

// The bytes that dtype and shape ask for, or nothing when no file can hold them.
std::optional<std::uint64_t> tensor_bytes(const SafetensorsEntry& entry) {
  std::optional<std::uint64_t> bits = bits_per_element(entry.dtype);
  for (const std::int64_t dimension : entry.shape) {
    // An empty tensor is empty whatever its other dimensions are.
    if (dimension == 0) return 0;
  }
  for (const std::int64_t dimension : entry.shape) {
    bits = base::checked_multiply(*bits, static_cast<std::uint64_t>(dimension));
    if (!bits) return std::nullopt;
  }
  if (*bits % 8 != 0) return std::nullopt;
  return *bits / 8;
}

void check_names(std::vector<SafetensorsEntry>& entries, const std::filesystem::path& file) {
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(entries.begin(), entries.end(),
                         [](const auto& a, const auto& b) { return a.name == b.name; });
  if (twice != entries.end()) {
    throw Error(ErrorCode::kDamaged,
                "the header has the key " + base::quoted(twice->name) + " twice", {.path = file});
  }
}

void check_size(const SafetensorsEntry& entry, const std::filesystem::path& file) {
  const auto fail = [&](std::string_view message) {
    throw Error(ErrorCode::kDamaged, "tensor " + base::quoted(entry.name) + std::string(message),
                {.path = file});
  };
  if (entry.begin > entry.end) fail(": its data_offsets run backwards");
  const auto bytes = tensor_bytes(entry);
  if (!bytes) fail(": its shape and dtype make no whole number of bytes that a file can hold");
  if (*bytes != entry.end - entry.begin) {
    fail(" has " + std::to_string(entry.end - entry.begin) +
         " bytes of data, but its shape and dtype ask for " + std::to_string(*bytes));
  }
}

// Sorts by place, and checks that the tensors cover the data without gaps and without overlaps.
void check_places(std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes,
                  const std::filesystem::path& file) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t covered = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const SafetensorsEntry& entry = entries[i];
    if (entry.begin < covered) {
      throw Error(ErrorCode::kDamaged,
                  "tensor " + base::quoted(entry.name) + " overlaps tensor " +
                      base::quoted(entries[i - 1].name),
                  {.path = file});
    }
    if (entry.begin > covered) {
      throw Error(ErrorCode::kDamaged,
                  "a gap of " + std::to_string(entry.begin - covered) +
                      " bytes stands before tensor " + base::quoted(entry.name),
                  {.path = file});
    }
    covered = entry.end;
  }
  if (covered > data_bytes) {
    throw Error(ErrorCode::kTruncated,
                "the file ends " + std::to_string(covered - data_bytes) +
                    " bytes before the end of its tensors",
                {.path = file});
  }
  if (covered < data_bytes) {
    throw Error(
        ErrorCode::kDamaged,
        std::to_string(data_bytes - covered) + " bytes after the last tensor belong to none",
        {.path = file});
  }
}

std::string json_string(std::string_view text) {
  return nlohmann::json(text).dump();
}

}  // namespace

std::optional<std::string_view> safetensors_dtype_name(DType dtype) noexcept {
  const auto it = std::find_if(kDTypes.begin(), kDTypes.end(),
                               [&](const DTypeName& row) { return row.dtype == dtype; });
  return it == kDTypes.end() ? std::nullopt : std::optional<std::string_view>(it->name);
}

int safetensors_dtype_rank(DType dtype) noexcept {
  const auto it = std::find_if(kDTypes.begin(), kDTypes.end(),
                               [&](const DTypeName& row) { return row.dtype == dtype; });
  return static_cast<int>(std::distance(it, kDTypes.end()));
}

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes,
                                           const std::filesystem::path& file) {
  if (!text.starts_with('{')) {
    throw Error(ErrorCode::kDamaged, "the header does not begin with '{'",
                {.path = file, .offset = kLengthBytes});
  }
  // The parser takes a NUL for the end of its input.
  if (const std::size_t nul = text.find('\0'); nul != std::string_view::npos) {
    throw Error(ErrorCode::kDamaged, "the header is no valid JSON",
                {.path = file, .offset = kLengthBytes + nul});
  }
  if (!base::is_utf8(text)) {
    throw Error(ErrorCode::kDamaged, "the header is no valid UTF-8", {.path = file});
  }
  HeaderReader reader(file);
  nlohmann::json::sax_parse(text, &reader);
  SafetensorsHeader header = reader.take();
  check_names(header.entries, file);
  for (const SafetensorsEntry& entry : header.entries) check_size(entry, file);
  check_places(header.entries, data_bytes, file);
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header) {
  std::string text = "{";
  const auto separate = [&] { text += text.size() == 1 ? "" : ","; };
  if (header.metadata) {
    text += json_string(kMetadataKey) + ":{";
    bool first = true;
    for (const auto& [key, value] : *header.metadata) {
      text += (first ? "" : ",") + json_string(key) + ":" + json_string(value);
      first = false;
    }
    text += "}";
  }
  for (const SafetensorsEntry& entry : header.entries) {
    separate();
    text += json_string(entry.name) + R"(:{"dtype":")";
    text += safetensors_dtype_name(entry.dtype).value();
    text += R"(","shape":[)";
    for (std::size_t i = 0; i < entry.shape.size(); ++i) {
      text += (i == 0 ? "" : ",") + std::to_string(entry.shape[i]);
    }
    text += R"(],"data_offsets":[)" + std::to_string(entry.begin) + "," +
            std::to_string(entry.end) + "]}";
  }
  text += "}";
  text.resize(base::round_up(text.size(), kLengthBytes), ' ');
  return text;
}

}  // namespace cairn::interop
