// FlatBuffers payloads that may hold anything: verified on an aligned private copy, and decoded on
// a budget, because several offsets in a FlatBuffer may lead to the same bytes.
#pragma once

#include "format/fixed.h"
#include "format/layout.h"

#include <flatbuffers/flatbuffers.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace cairn::format {

/// How much may still be decoded from a payload.
///
/// Each part that is decoded costs at least as many bytes as it takes in a payload whose parts do
/// not share bytes; so the whole can never cost more than the payload is long, unless parts are
/// shared, by which a small payload would expand without bound.
class Budget {
 public:
  explicit Budget(std::uint64_t payload_bytes) : left_(payload_bytes) {}

  /// Errors: damaged, when the budget is used up.
  void spend(std::uint64_t bytes) {
    if (bytes > left_) {
      fail(ErrorCode::kDamaged,
           "the payload decodes to more than its length: parts of it are shared");
    }
    left_ -= bytes;
  }

 private:
  std::uint64_t left_;
};

/// The least that these take in a payload, with the offset that leads to them.
inline constexpr std::uint64_t kLeastTableBytes = 8;
inline constexpr std::uint64_t kLeastStringBytes = 9;  // offset, length, terminator

/// A private copy of a payload, aligned for every scalar.
class Payload {
 public:
  /// Errors: damaged, when it is longer than kMaxPayloadBytes or too short to be a FlatBuffer.
  explicit Payload(std::span<const std::byte> bytes);

  std::uint64_t bytes() const noexcept { return bytes_; }

  /// The root table, after checking the file identifier and that every offset, vector and string
  /// of it lies inside the payload. Errors: damaged.
  template <typename Table>
  const Table& verified(const char* identifier) const {
    check_identifier(identifier);
    flatbuffers::Verifier verifier(data(), bytes_, kMaxTableDepth, max_tables());
    if (!verifier.VerifyBuffer<Table>(nullptr)) {
      fail(ErrorCode::kDamaged, "the payload is no well-formed FlatBuffer");
    }
    return *flatbuffers::GetRoot<Table>(data());
  }

 private:
  // Beyond what values may nest, so that too deep a value gets its own message.
  static constexpr flatbuffers::uoffset_t kMaxTableDepth = 64;

  const std::uint8_t* data() const noexcept {
    return reinterpret_cast<const std::uint8_t*>(copy_.get());
  }
  flatbuffers::uoffset_t max_tables() const noexcept {
    return static_cast<flatbuffers::uoffset_t>(bytes_ / kLeastTableBytes + 1);
  }
  void check_identifier(const char* identifier) const;

  std::uint64_t bytes_;
  std::unique_ptr<std::max_align_t[]> copy_;
};

/// The elements of a vector, none when it is absent. The FlatBuffers verifier checks where a vector
/// begins, not whether its elements are aligned: this does. An empty one has none, and FlatBuffers'
/// own builder puts it anywhere. Errors: damaged.
template <typename T>
std::span<const T> elements(const flatbuffers::Vector<T>* vector, std::string_view what) {
  if (vector == nullptr || vector->size() == 0) return {};
  if (reinterpret_cast<std::uintptr_t>(vector->Data()) % alignof(T) != 0) {
    fail(ErrorCode::kDamaged, "the payload's {} are not aligned", what);
  }
  return {reinterpret_cast<const T*>(vector->Data()), vector->size()};
}

template <typename T>
std::span<const T> elements(const flatbuffers::Vector<const T*>* vector, std::string_view what) {
  return elements(reinterpret_cast<const flatbuffers::Vector<T>*>(vector), what);
}

inline std::string_view as_text(std::span<const std::uint8_t> bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Between a digest and its form in a payload.
template <typename To, typename From>
To copy_digest(const From& from) noexcept {
  static_assert(sizeof(To) == kDigestBytes && sizeof(From) == kDigestBytes);
  return std::bit_cast<To>(from);
}

inline std::string_view as_text(const flatbuffers::String* text) noexcept {
  return text == nullptr ? std::string_view() : std::string_view(text->c_str(), text->size());
}

/// A builder that has room for `bytes` from the start. Errors: invalid_argument beyond
/// kMaxPayloadBytes, of which FlatBuffers itself would not tell.
flatbuffers::FlatBufferBuilder make_builder(std::uint64_t bytes, std::string_view what);

/// The finished payload of a builder.
template <typename Table>
std::vector<std::byte> finish(flatbuffers::FlatBufferBuilder& builder,
                              flatbuffers::Offset<Table> root, const char* identifier) {
  builder.Finish(root, identifier);
  const auto* begin = reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return {begin, begin + builder.GetSize()};
}

}  // namespace cairn::format
