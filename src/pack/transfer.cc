// How bytes get from and to the pack: neighbours joined into requests, several of them on their way
// at once, past the page cache where that is faster.

#include "base/checked.h"
#include "base/mutant.h"
#include "base/thread_pool.h"
#include "codec/grouped.h"
#include "pack/pack_file.h"

#include <cairn/error.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace cairn::pack {

using base::round_up;
using format::ChunkRef;
using format::kAlignment;

namespace {

/// Neighbouring extents are joined into requests of at most so many bytes, and so many requests are
/// on their way at once: with larger or more of them the disk was no faster, and what is hashed
/// and copied would leave the cores' caches before it is written (docs/decisions/0020).
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
// Each input makes stores of its own, and their buffers would take most of its time.
constexpr std::uint64_t kRequestBytes = std::uint64_t{1} << 16;
#else
constexpr std::uint64_t kRequestBytes = std::uint64_t{2} << 20;
#endif
constexpr std::size_t kRequestsInFlight = 4;

std::size_t in_flight() noexcept {
  return std::max(kRequestsInFlight, base::worker_count());
}

/// What is shorter goes through the page cache: the flush that follows writes it in one go, and a
/// small checkpoint is soon read again.
constexpr std::uint64_t kLeastDirectBytes = std::uint64_t{1} << 20;

/// A chunk that many tensors share is handed out by more than one thread from so many bytes on.
constexpr std::uint64_t kMaxWantedBytes = std::uint64_t{8} << 20;

/// Bounds the buffers of stores with large chunks.
constexpr std::uint64_t kMaxBufferBytes = std::uint64_t{64} << 20;

/// The buffers of a store whose chunks have so many bytes.
std::uint64_t bytes_of_request(std::uint64_t chunk_bytes) {
  return round_up(std::max(kRequestBytes, chunk_bytes), kRequestBytes);
}
std::size_t most_requests(std::uint64_t chunk_bytes) {
  const std::uint64_t most = kMaxBufferBytes / 2 / bytes_of_request(chunk_bytes);
  return std::clamp<std::size_t>(most, 1, in_flight());
}

/// Calls `work` with so many bytes of a buffer from the pool, or of one of its own where those are
/// too short.
template <typename Work>
void with_buffer(io::BufferPool& pool, std::uint64_t bytes, const Work& work) {
  if (bytes > pool.buffer_bytes()) {
    io::AlignedBuffer own(bytes);
    work(own.span().first(bytes));
    return;
  }
  io::BufferPool::Lease buffer = pool.take();
  work(buffer.span().first(bytes));
}

}  // namespace

PackFile::Buffers::Buffers(std::uint64_t chunk_bytes)
    : write(bytes_of_request(chunk_bytes), most_requests(chunk_bytes)),
      read(bytes_of_request(chunk_bytes), most_requests(chunk_bytes)),
      plain(chunk_bytes, most_requests(chunk_bytes)) {}

// ---- writing ------------------------------------------------------------------------------------

namespace {

/// Extents that lie one behind the other and go in one request.
struct Request {
  std::size_t first = 0;
  std::size_t count = 0;
  std::uint64_t bytes = 0;  // padding included
};

std::vector<Request> join(std::span<const ExtentWrite> sorted) {
  std::vector<Request> requests;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const std::uint64_t space = round_up(sorted[i].bytes, kAlignment);
    if (!requests.empty()) {
      Request& last = requests.back();
      const bool neighbour = sorted[last.first].offset + last.bytes == sorted[i].offset;
      if (neighbour && last.bytes + space <= kRequestBytes) {
        ++last.count;
        last.bytes += space;
        continue;
      }
    }
    requests.push_back({.first = i, .count = 1, .bytes = space});
  }
  return requests;
}

}  // namespace

void PackFile::write_extents(std::vector<ExtentWrite> writes) const {
  std::sort(writes.begin(), writes.end(),
            [](const ExtentWrite& a, const ExtentWrite& b) { return a.offset < b.offset; });
  const std::vector<Request> requests = join(writes);
  std::uint64_t total_bytes = 0;
  for (const Request& request : requests) total_bytes += request.bytes;
  const bool direct = total_bytes >= kLeastDirectBytes;

  const auto put = [&](const Request& request, std::span<std::byte> out) {
    std::uint64_t at = 0;
    for (std::size_t i = request.first; i < request.first + request.count; ++i) {
      const std::uint64_t space = round_up(writes[i].bytes, kAlignment);
      writes[i].fill(out.subspan(at, writes[i].bytes));
      std::memset(out.data() + at + writes[i].bytes, 0, space - writes[i].bytes);
      at += space;
    }
    const std::uint64_t offset = writes[request.first].offset;
    if (direct) {
      file_.write_direct(offset, out);
    } else {
      file_.write(offset, out);
    }
  };
  const auto run = [&](std::size_t r) {
    const Request& request = requests[r];
    with_buffer(buffers_->write, request.bytes,
                [&](std::span<std::byte> buffer) { put(request, buffer); });
  };
  base::parallel_for(requests.size(), run, direct ? in_flight() : 1);
}

// ---- reading ------------------------------------------------------------------------------------

namespace {

void check_digest(const std::filesystem::path& path, const ChunkRef& chunk,
                  std::span<const std::byte> plain) {
  if (CAIRN_MUTANT(kChunkDigestsIgnored) || base::xxh3_128(plain) == chunk.id) return;
  throw Error(ErrorCode::kDamaged,
              "the bytes of chunk " + chunk.id.to_hex() + " (" + std::to_string(plain.size()) +
                  " bytes) do not match their digest",
              {.path = path, .offset = chunk.offset});
}

bool is_damage(const Error& error) noexcept {
  return error.code() == ErrorCode::kDamaged || error.code() == ErrorCode::kTruncated;
}

/// Chunks that lie one behind the other, or in the same place, and are read in one request.
struct ReadRequest {
  std::size_t first = 0;
  std::size_t count = 0;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;         // padding included
  std::uint64_t wanted_bytes = 0;  // those in the same place counted each
};

std::vector<ReadRequest> join(std::span<const ChunkRead> sorted) {
  std::vector<ReadRequest> requests;
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    const ChunkRef& chunk = *sorted[i].chunk;
    const std::uint64_t space = round_up(chunk.stored_bytes, kAlignment);
    if (!requests.empty()) {
      ReadRequest& last = requests.back();
      const bool same_place = chunk.offset == sorted[i - 1].chunk->offset;
      const bool neighbour = chunk.offset == last.offset + last.bytes;
      const std::uint64_t more = same_place ? 0 : space;
      if ((same_place || neighbour) && last.bytes + more <= kRequestBytes &&
          last.wanted_bytes + space <= kMaxWantedBytes) {
        ++last.count;
        last.bytes += more;
        last.wanted_bytes += space;
        continue;
      }
    }
    requests.push_back(
        {.first = i, .count = 1, .offset = chunk.offset, .bytes = space, .wanted_bytes = space});
  }
  return requests;
}

}  // namespace

void PackFile::decode_chunk(const ChunkRef& chunk, std::span<const std::byte> stored,
                            std::span<std::byte> out) const {
  try {
    codec::decode(stored, out);
  } catch (const Error&) {
    rethrow_at(path(), chunk.offset);
  }
  check_digest(path(), chunk, out);
}

void PackFile::read_chunk(const ChunkRef& chunk, std::span<std::byte> out) const {
  if (chunk.encoding != format::Encoding::kRaw) {
    with_buffer(buffers_->read, chunk.stored_bytes, [&](std::span<std::byte> stored) {
      file_.read_exactly(chunk.offset, stored);
      decode_chunk(chunk, stored, out);
    });
    return;
  }
  read_stored(chunk, out);
}

void PackFile::read_stored(const ChunkRef& chunk, std::span<std::byte> out) const {
  file_.read_exactly(chunk.offset, out);
  if (chunk.encoding == format::Encoding::kRaw) {
    check_digest(path(), chunk, out);
    return;
  }
  with_buffer(buffers_->plain, chunk.plain_bytes,
              [&](std::span<std::byte> plain) { decode_chunk(chunk, out, plain); });
}

void PackFile::read_chunks(std::vector<ChunkRead> reads, const ChunkReader& reader) const {
  std::stable_sort(reads.begin(), reads.end(), [](const ChunkRead& a, const ChunkRead& b) {
    return a.chunk->offset < b.chunk->offset;
  });
  const std::vector<ReadRequest> requests = join(reads);
  std::uint64_t total_bytes = 0;
  for (const ReadRequest& request : requests) total_bytes += request.bytes;
  const bool may_be_direct = file_.is_direct() && total_bytes >= kLeastDirectBytes;

  const auto attempt = [&](const ChunkRead& read, const auto& work) {
    try {
      work();
    } catch (const Error& error) {
      if (!is_damage(error)) throw;
      reader.damaged(read.tag, error);
    }
  };
  const auto run_in = [&](const ReadRequest& request, std::span<std::byte> buffer, bool direct) {
    const std::size_t got = direct ? file_.read_some_direct(request.offset, buffer)
                                   : file_.read_some(request.offset, buffer);
    for (std::size_t i = request.first; i < request.first + request.count; ++i) {
      const ChunkRead& read = reads[i];
      const ChunkRef& chunk = *read.chunk;
      attempt(read, [&] {
        const std::uint64_t at = chunk.offset - request.offset;
        if (at + chunk.stored_bytes > got) {
          throw Error(ErrorCode::kTruncated, "the pack ends before this chunk does",
                      {.path = path(), .offset = chunk.offset});
        }
        if (chunk.encoding != format::Encoding::kRaw) {
          const auto stored = buffer.subspan(at, chunk.stored_bytes);
          if (!read.into.empty()) {
            decode_chunk(chunk, stored, read.into);
            return;
          }
          with_buffer(buffers_->plain, chunk.plain_bytes, [&](std::span<std::byte> plain) {
            decode_chunk(chunk, stored, plain);
            if (reader.use) reader.use(read.tag, plain);
          });
          return;
        }
        const auto plain = buffer.subspan(at, chunk.plain_bytes);
        check_digest(path(), chunk, plain);
        if (!read.into.empty()) {
          std::memcpy(read.into.data(), plain.data(), plain.size());
        } else if (reader.use) {
          reader.use(read.tag, plain);
        }
      });
    }
  };
  const auto run = [&](std::size_t r) {
    const ReadRequest& request = requests[r];
    const bool direct = may_be_direct && !file_.is_cached(request.offset, request.bytes);
    const ChunkRead& first = reads[request.first];
    if (!direct && request.count == 1 && !first.into.empty()) {
      attempt(first, [&] { read_chunk(*first.chunk, first.into); });
      return;
    }
    with_buffer(buffers_->read, request.bytes,
                [&](std::span<std::byte> buffer) { run_in(request, buffer, direct); });
  };
  base::parallel_for(requests.size(), run, in_flight());
}

}  // namespace cairn::pack
