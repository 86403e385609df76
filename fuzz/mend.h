// Mends digests and checksums in a mutated input, so that the fuzzer gets past them: XXH3 is no
// defence against who can compute it, and a decoder must bear whatever stands behind a digest that
// matches.
#pragma once

#include "format/layout.h"
#include "support.h"

namespace cairn::fuzz {

/// The store and the place that lone slots and records belong to.
inline constexpr std::uint64_t kRecordOffset = format::kDataBegin;
format::Uuid sample_uuid();

void mend_superblock(std::span<std::byte> bytes);
void mend_slot(std::span<std::byte> bytes, const format::Uuid& uuid);
/// Own offset, payload length and both digests.
void mend_record(std::span<std::byte> bytes, const format::Uuid& uuid, std::uint64_t offset);

/// The digest of a compressed chunk that stands behind its plain length (u32), if its blocks end in
/// it; lengths of groups that are too long are made to fit.
void mend_chunk(std::span<std::byte> input);

/// Everything in a pack that follows from something else: digests of chunks in indexes, of indexes
/// in roots, of roots in slots and in the roots after them, and those of every part itself.
void mend_pack(std::span<std::byte> pack);

/// The checksums of the rows of all tables, and transaction and sum in the row of table info.
void mend_catalog(std::span<std::byte> file);

/// The checksum of one row.
void mend_row(std::uint32_t table, View key, std::span<std::byte> value);

}  // namespace cairn::fuzz

#ifdef CAIRN_LIBFUZZER
// Defined by libFuzzer.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned int seed);

/// Mutates as libFuzzer does, then calls `mend(std::span<std::byte>)`, most of the time.
#define CAIRN_FUZZ_MEND(mend)                                                               \
  extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,      \
                                                 std::size_t max_size, unsigned int seed) { \
    const std::size_t mutated = LLVMFuzzerMutate(data, size, max_size);                     \
    if (seed % 8 != 0) mend(std::span(reinterpret_cast<std::byte*>(data), mutated));        \
    return mutated;                                                                         \
  }
/// The same for an image: mutates one of its pages, its script or its list of pieces, and mends the
/// file.
#define CAIRN_FUZZ_MEND_IMAGE(mend)                                                         \
  extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,      \
                                                 std::size_t max_size, unsigned int seed) { \
    return ::cairn::fuzz::mutate_image(data, size, max_size, seed, mend);                   \
  }
namespace cairn::fuzz {
std::size_t mutate_image(std::uint8_t* data, std::size_t size, std::size_t max_size,
                         unsigned int seed, void (*mend)(std::span<std::byte>));
}
#else
#define CAIRN_FUZZ_MEND(mend) static_assert(true)
#define CAIRN_FUZZ_MEND_IMAGE(mend) static_assert(true)
#endif
