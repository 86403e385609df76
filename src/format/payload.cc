#include "format/payload.h"

#include <algorithm>
#include <utility>

namespace cairn::format {
namespace {

constexpr std::uint64_t kLeastPayloadBytes = 16;  // root offset, identifier, vtable, table

std::uint64_t checked_length(std::uint64_t bytes) {
  if (bytes > kMaxPayloadBytes) {
    fail(ErrorCode::kDamaged, "the payload is {} bytes long; at most {} are allowed", bytes,
         kMaxPayloadBytes);
  }
  if (bytes < kLeastPayloadBytes) {
    fail(ErrorCode::kDamaged, "the payload is {} bytes long, too short for a FlatBuffer", bytes);
  }
  return bytes;
}

}  // namespace

Payload::Payload(std::span<const std::byte> bytes)
    : bytes_(checked_length(bytes.size())),
      copy_(std::make_unique_for_overwrite<std::max_align_t[]>(
          (bytes.size() + sizeof(std::max_align_t) - 1) / sizeof(std::max_align_t))) {
  std::memcpy(copy_.get(), bytes.data(), bytes.size());
}

void Payload::check_identifier(const char* identifier) const {
  const std::string_view found(flatbuffers::GetBufferIdentifier(data()),
                               flatbuffers::kFileIdentifierLength);
  if (found != identifier) {
    fail(ErrorCode::kDamaged, "the payload's identifier is not \"{}\"", identifier);
  }
}

flatbuffers::FlatBufferBuilder make_builder(std::uint64_t bytes, std::string_view what) {
  if (bytes > kMaxPayloadBytes) {
    fail(ErrorCode::kInvalidArgument, "the {} takes up to {} bytes; at most {} are allowed", what,
         bytes, kMaxPayloadBytes);
  }
  constexpr std::uint64_t kLeastBuilderBytes = 1024;
  return flatbuffers::FlatBufferBuilder(std::max(bytes, kLeastBuilderBytes));
}

}  // namespace cairn::format
