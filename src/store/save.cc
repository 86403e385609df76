#include "store/save.h"

#include "base/mutant.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "format/names.h"
#include "io/aligned_buffer.h"
#include "io/file.h"

#include <cairn/error.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

namespace cairn::store {

namespace {

/// To start a thread takes longer than to hash so much.
constexpr std::uint64_t kSmallStateBytes = std::uint64_t{1} << 20;

/// The metadata as it is saved: with the time and the end of the epoch unless the caller said them.
Metadata complete(Metadata meta, bool end_of_epoch, std::int64_t now_ns) {
  if (!meta.contains("unixtime")) meta.set("unixtime", static_cast<double>(now_ns) * 1e-9);
  if (!meta.contains("end-of-epoch")) meta.set("end-of-epoch", end_of_epoch);
  return meta;
}

}  // namespace

void require_checkpoint_name(std::string_view name) {
  if (const auto problem = format::checkpoint_name_problem(name)) {
    throw Error(ErrorCode::kInvalidArgument,
                "a checkpoint cannot have the name " + base::quoted(name) + ": it " + *problem);
  }
}

void check_state(const CheckpointState& state, const SaveOptions& options) {
  if (!options.name.empty()) require_checkpoint_name(options.name);
  const CutState planned = cut(state, format::kMaxChunkBytes);
  format::encode_summary(
      format::summarize(complete(options.meta, options.end_of_epoch, 0), planned.recoverables));
}

TakenState take_state(const CheckpointState& state, const SaveOptions& options,
                      std::uint64_t chunk_bytes, const ChunkVisitor& visit) {
  if (!options.name.empty()) require_checkpoint_name(options.name);
  TakenState taken;
  taken.cut = std::make_unique<const CutState>(cut(state, chunk_bytes));
  const std::vector<PlannedChunk>& planned = taken.cut->chunks;

  NewCheckpoint& checkpoint = taken.checkpoint;
  checkpoint.recoverables = taken.cut->recoverables;
  checkpoint.name = options.name;
  checkpoint.replace = options.replace;
  checkpoint.created_unix_ns = io::unix_time_ns();
  checkpoint.meta = complete(options.meta, options.end_of_epoch, checkpoint.created_unix_ns);
  checkpoint.chunks.resize(planned.size());
  std::uint64_t bytes = 0;
  for (const PlannedChunk& chunk : planned) bytes += chunk.plain_bytes;
  const auto done = std::make_shared<std::atomic<std::uint64_t>>(0);
  const auto tell = [done, total = 2 * bytes, progress = options.progress](std::uint64_t more) {
    if (progress) progress({.done_bytes = *done += more, .total_bytes = total});
  };
  const auto hash = [&](std::size_t i) {
    thread_local io::AlignedBuffer buffer;
    const PlannedChunk& chunk = planned[i];
    if (buffer.size() < chunk.plain_bytes) buffer = io::AlignedBuffer(chunk.plain_bytes);
    const auto plain = view_or_fill(chunk, buffer.span());
    const format::ChunkId id = base::xxh3_128(plain);
    ChunkContent& content = checkpoint.chunks[i];
    content.key = {.id = id, .plain_bytes = chunk.plain_bytes};
    content.fill = [&chunk, id, tell](std::span<std::byte> out) {
      fill(chunk, out);
      require_unchanged(out, id, chunk.pieces.front().tensor->key);
      tell(out.size());
    };
    if (visit) visit(chunk, content, plain);
    tell(chunk.plain_bytes);
  };
  base::parallel_for(planned.size(), hash, bytes < kSmallStateBytes ? 1 : base::worker_count());
  return taken;
}

ChunkContent content_of(const pack::PackFile& pack, const format::ChunkRef& chunk,
                        std::function<void(std::uint64_t plain_bytes)> seen) {
  ChunkContent content{.key = catalog::key_of(chunk)};
  content.fill = [&pack, &chunk, seen](std::span<std::byte> out) {
    pack.read_chunk(chunk, out);
    seen(chunk.plain_bytes);
  };
  if (chunk.encoding != format::Encoding::kRaw) {
    content.compressed_bytes = chunk.stored_bytes;
    content.fill_compressed = [&pack, &chunk, seen = std::move(seen)](std::span<std::byte> out) {
      pack.read_stored(chunk, out);
      seen(chunk.plain_bytes);
    };
  }
  return content;
}

void require_unchanged(std::span<const std::byte> bytes, const format::ChunkId& id,
                       std::string_view tensor) {
  if (CAIRN_MUTANT(kChangedTensorsSaved) || base::xxh3_128(bytes) == id) return;
  throw Error(ErrorCode::kIo, "tensor " + base::quoted(tensor) +
                                  " (or one that shares its chunk) changed while it was being "
                                  "saved; nothing was saved. Do not change tensors during a save");
}

}  // namespace cairn::store
