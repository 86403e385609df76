// The root: the full list of checkpoints that live after one commit.
#pragma once

#include "format/layout.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn::format {

struct RootEntry {
  std::uint64_t id = 0;
  std::uint64_t sequence = 0;  // of the commit that saved it
  std::string name{};
  bool pinned = false;
  bool damaged = false;    // known to be
  Extent index{};          // the whole record, header included
  ChunkId index_digest{};  // of the index payload
  friend bool operator==(const RootEntry&, const RootEntry&) = default;
};

struct Root {
  std::uint64_t sequence = 0;
  std::uint64_t parent_sequence = 0;
  ChunkId parent_digest{};
  std::uint64_t next_id = 1;             // greater than every id ever listed
  std::vector<RootEntry> checkpoints{};  // ascending by id
  friend bool operator==(const Root&, const Root&) = default;
};

/// The FlatBuffers payload. Deterministic: equal roots give equal bytes. Errors: invalid_argument
/// for what decode_root would refuse.
std::vector<std::byte> encode_root(const Root& root);

/// What one commit changes in a root.
struct RootChange {
  std::uint64_t sequence = 0;
  std::uint64_t parent_sequence = 0;
  ChunkId parent_digest{};
  std::uint64_t next_id = 1;
  std::vector<std::uint64_t> removed{};  // ids, ascending
  struct Flags {
    std::uint64_t id = 0;
    bool pinned = false;
    bool damaged = false;
  };
  std::vector<Flags> flags{};  // of checkpoints that stay
  std::optional<RootEntry> added{};
};

/// The payload that `encode_root` gives for the root after a change. What stays is copied as it
/// stands: with many checkpoints, encoding and checking all of them anew would be most of a small
/// commit's work. `payload` is one that these functions returned, so only what is new is checked.
/// Cost: two copies of the payload, and a look at each entry. Errors: invalid_argument.
std::vector<std::byte> encode_next_root(std::span<const std::byte> payload,
                                        const RootChange& change);

/// Verifies the FlatBuffer on an aligned private copy, then its meaning: ids ascending and below
/// next_id, names unique, valid and within limits, extents aligned, not before kDataBegin, reserved
/// bytes zero. `max_end` bounds every extent. Errors: damaged.
Root decode_root(std::span<const std::byte> payload, std::uint64_t max_end);

}  // namespace cairn::format
