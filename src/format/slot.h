// A root slot: one sector that points to the root of one commit.
#pragma once

#include "format/layout.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn::format {

/// Where the root of a commit lies; both copies have the same length and payload.
struct RootLocation {
  Extent first{};  // the whole record, header included
  Extent second{};
  ChunkId digest{};  // of the payload
  friend bool operator==(const RootLocation&, const RootLocation&) = default;
};

struct Slot {
  std::uint32_t number = 0;  // which of the kSlotCount this is
  std::uint64_t sequence = 0;
  std::uint64_t parent_sequence = 0;  // 0: none
  ChunkId parent_digest{};            // of the parent's root payload
  RootLocation root{};
  std::uint64_t data_end = 0;  // bytes; every extent of this commit ends at or before it
  friend bool operator==(const Slot&, const Slot&) = default;
};

/// kSlotBytes long. Errors: invalid_argument for what decode_slot would refuse.
std::vector<std::byte> encode_slot(const Slot& slot, const Uuid& uuid);

/// The slot in one sector, or nothing when it was never written (all zero), is torn or damaged,
/// belongs to another store or another place. Pure: it never throws for contents.
/// `error`, when given, gets why ("never written" is no error and leaves it empty).
std::optional<Slot> decode_slot(std::span<const std::byte> sector, const Uuid& uuid,
                                std::uint32_t number, std::string* error = nullptr);

/// The store that a good slot belongs to, whichever that is; nothing for any other sector.
std::optional<Uuid> uuid_of_slot(std::span<const std::byte> sector, std::uint32_t number);

}  // namespace cairn::format
