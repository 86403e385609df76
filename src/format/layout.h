// Where things stand in a pack, and the limits of the format. See format/SPEC.md.
#pragma once

#include "base/digest.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace cairn::format {

/// Every extent begins and ends at a multiple of it: ready for direct I/O, mmap and hole punching.
inline constexpr std::uint64_t kAlignment = 4096;

inline constexpr std::uint32_t kFormatVersion = 1;
inline constexpr std::uint32_t kHashXxh3_128 = 1;  // 2 is reserved for a cryptographic one

inline constexpr std::uint64_t kSuperblockBytes = 4096;
inline constexpr std::array<std::uint64_t, 2> kSuperblockOffsets = {0, 65536};

inline constexpr std::size_t kSlotCount = 4;
inline constexpr std::uint64_t kSlotBytes = 512;  // one sector: written whole or not at all
inline constexpr std::array<std::uint64_t, kSlotCount> kSlotOffsets = {8192, 16384, 24576, 32768};

/// Extents begin here; everything before is superblocks, slots and zeros.
inline constexpr std::uint64_t kDataBegin = 131072;

inline constexpr std::uint64_t kMinChunkBytes = 65536;
inline constexpr std::uint64_t kMaxChunkBytes = std::uint64_t{64} << 20;
/// Tensors shorter than this share chunks of at most this length; see store/cut.h.
inline constexpr std::uint64_t kSmallTensorBytes = 65536;

inline constexpr std::size_t kMaxRank = 64;
inline constexpr std::size_t kMaxKeyBytes = 65535;         // of a tensor or a value
inline constexpr std::size_t kMaxNameBytes = 255;          // of a checkpoint or a recoverable
inline constexpr std::uint64_t kMaxRecoverables = 65'536;  // of a checkpoint
inline constexpr std::uint64_t kMaxTensors = 16'777'216;   // of a checkpoint
/// Several tensors may run through one chunk (tied ones do). Each tensor counted, they may run
/// through so many chunks, or kMaxSharing times as many as there are chunks and tensors, whichever
/// is more: the work that an index asks for stays in proportion to it.
inline constexpr std::uint64_t kMaxTouches = std::uint64_t{1} << 24;
inline constexpr std::uint64_t kMaxSharing = 16;
inline constexpr std::uint64_t kMaxKeysBytes = std::uint64_t{512} << 20;  // of all tensor keys
inline constexpr std::uint64_t kMaxMetaBytes = std::uint64_t{1} << 20;    // encoded metadata
/// Offsets in a pack fit a signed 64-bit number, also after rounding up to kAlignment.
inline constexpr std::uint64_t kMaxPackBytes = (std::uint64_t{1} << 63) - kAlignment;
inline constexpr std::uint64_t kMaxPayloadBytes = (std::uint64_t{1} << 31) - 65536;  // FlatBuffers

using ChunkId = base::Digest128;
using Uuid = std::array<std::byte, 16>;

/// A piece of the pack. `bytes` is what is meant; the space it takes is rounded up to kAlignment.
struct Extent {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  friend auto operator<=>(const Extent&, const Extent&) = default;
};

}  // namespace cairn::format
