#include "store/reader.h"

#include "base/checked.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "io/buffer_pool.h"
#include "store/checks.h"
#include "store/save.h"

#include <cairn/error.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <mutex>
#include <set>
#include <utility>

namespace cairn::store {

using format::ChunkRef;
using format::IndexRecoverable;
using format::IndexTensor;

namespace {

/// So many damaged places are spelled out in one message; the rest is counted.
constexpr std::size_t kPlacesInMessage = 20;

catalog::CheckpointRow find_row(const StoreHandle& handle, const catalog::ReadTransaction& view,
                                std::uint64_t id) {
  auto row = view.checkpoint(id);
  if (!row) {
    throw Error(ErrorCode::kNotFound, "no checkpoint has id " + std::to_string(id),
                {.path = handle.paths().directory});
  }
  return *row;
}

}  // namespace

CheckpointReader::CheckpointReader(std::shared_ptr<const StoreHandle> handle, std::uint64_t id)
    : handle_(std::move(handle)), view_(handle_->catalog().read()) {
  const catalog::CheckpointRow row = find_row(*handle_, view_, id);
  info_ = info_of(row);
  try {
    index_ = read_index_of(handle_->pack(), row, view_.info().data_end);
  } catch (const Error& error) {
    throw Error(error.code(),
                "the index of checkpoint " + base::quoted(row.name) + " (id " + std::to_string(id) +
                    ") cannot be read: " + error.what(),
                {.offset = error.offset(), .system_errno = error.system_errno()});
  }
  for (const IndexRecoverable& recoverable : index_.recoverables) {
    first_tensor_.push_back(tensors_.size());
    for (const IndexTensor& tensor : recoverable.tensors) {
      tensors_.push_back({.recoverable = recoverable.name,
                          .key = tensor.key,
                          .dtype = tensor.dtype,
                          .shape = tensor.shape,
                          .bytes = *format::tensor_bytes(tensor.dtype, tensor.shape)});
      places_.push_back(
          {.first_chunk = tensor.first_chunk, .offset_in_chunk = tensor.offset_in_chunk});
    }
  }
  first_tensor_.push_back(tensors_.size());
}

const CheckpointInfo& CheckpointReader::info() const {
  return info_;
}

std::span<const TensorInfo> CheckpointReader::tensors() const {
  return tensors_;
}

const IndexRecoverable* CheckpointReader::find_recoverable(std::string_view recoverable) const {
  const auto at = std::lower_bound(
      index_.recoverables.begin(), index_.recoverables.end(), recoverable,
      [](const IndexRecoverable& a, std::string_view wanted) { return a.name < wanted; });
  return at != index_.recoverables.end() && at->name == recoverable ? &*at : nullptr;
}

std::span<const TensorInfo> CheckpointReader::tensors(std::string_view recoverable) const {
  const IndexRecoverable* found = find_recoverable(recoverable);
  if (found == nullptr) {
    throw Error(ErrorCode::kNotFound,
                "checkpoint " + base::quoted(info_.name) + " has no recoverable " +
                    base::quoted(recoverable),
                {.path = handle_->paths().directory});
  }
  const auto position = static_cast<std::size_t>(found - index_.recoverables.data());
  return std::span(tensors_).subspan(first_tensor_[position],
                                     first_tensor_[position + 1] - first_tensor_[position]);
}

std::optional<std::size_t> CheckpointReader::find_tensor(std::string_view recoverable,
                                                         std::string_view key) const {
  const IndexRecoverable* found = find_recoverable(recoverable);
  if (found == nullptr) return std::nullopt;
  const auto at = std::lower_bound(
      found->tensors.begin(), found->tensors.end(), key,
      [](const IndexTensor& a, std::string_view wanted) { return a.key < wanted; });
  if (at == found->tensors.end() || at->key != key) return std::nullopt;
  const auto position = static_cast<std::size_t>(found - index_.recoverables.data());
  return first_tensor_[position] + static_cast<std::size_t>(at - found->tensors.begin());
}

const MetaValue::Map& CheckpointReader::values(std::string_view recoverable) const {
  tensors(recoverable);  // for its error
  return find_recoverable(recoverable)->values;
}

const TensorInfo& CheckpointReader::tensor_at(std::size_t tensor) const {
  if (tensor >= tensors_.size()) {
    throw Error(ErrorCode::kInvalidArgument,
                "there is no tensor number " + std::to_string(tensor) + "; checkpoint " +
                    base::quoted(info_.name) + " has " + std::to_string(tensors_.size()),
                {.path = handle_->paths().directory});
  }
  return tensors_[tensor];
}

std::vector<ChunkInfo> CheckpointReader::chunks(std::size_t tensor) const {
  const std::uint64_t bytes = tensor_at(tensor).bytes;
  std::vector<ChunkInfo> result;
  if (bytes == 0) return result;
  std::uint64_t end = places_[tensor].offset_in_chunk + bytes;
  for (std::size_t i = places_[tensor].first_chunk; end > 0; ++i) {
    const ChunkRef& chunk = index_.chunks[i];
    result.push_back({.digest = chunk.id.to_hex(),
                      .plain_bytes = chunk.plain_bytes,
                      .stored_bytes = chunk.stored_bytes,
                      .pack_offset = chunk.offset});
    end -= std::min(end, chunk.plain_bytes);
  }
  return result;
}

// ---- loading
// --------------------------------------------------------------------------------------

void CheckpointReader::add_parts(std::size_t tensor, std::uint64_t offset, std::span<std::byte> out,
                                 Parts& parts) const {
  if (out.empty()) return;
  std::size_t chunk = places_[tensor].first_chunk;
  std::uint64_t at = places_[tensor].offset_in_chunk + offset;
  while (at >= index_.chunks[chunk].plain_bytes) at -= index_.chunks[chunk++].plain_bytes;
  for (; !out.empty(); ++chunk) {
    const std::uint64_t bytes =
        std::min<std::uint64_t>(out.size(), index_.chunks[chunk].plain_bytes - at);
    parts[chunk].push_back({.tensor = tensor, .chunk_offset = at, .out = out.first(bytes)});
    out = out.subspan(bytes);
    at = 0;
  }
}

std::string CheckpointReader::place_of(std::size_t tensor) const {
  return std::string(tensors_[tensor].recoverable) + "/" + std::string(tensors_[tensor].key);
}

void CheckpointReader::run(const Parts& parts, Purpose purpose) const {
  std::vector<pack::ChunkRead> reads;
  std::vector<const Parts::value_type*> wanted_by;
  reads.reserve(parts.size());
  wanted_by.reserve(parts.size());
  for (const auto& part : parts) {
    const auto& [number, wanted] = part;
    const ChunkRef& chunk = index_.chunks[number];
    pack::ChunkRead read{.chunk = &chunk, .tag = wanted_by.size()};
    const bool whole = wanted.size() == 1 && wanted.front().out.size() == chunk.plain_bytes;
    if (whole && purpose == Purpose::kLoad) read.into = wanted.front().out;
    reads.push_back(read);
    wanted_by.push_back(&part);
  }

  struct Failure {
    ErrorCode code;
    std::string message;
  };
  std::mutex mutex;
  std::map<std::size_t, Failure> failures;  // by chunk
  pack::ChunkReader reader;
  reader.damaged = [&](std::size_t tag, const Error& error) {
    const std::lock_guard lock(mutex);
    failures.emplace(wanted_by[tag]->first, Failure{.code = error.code(), .message = error.what()});
  };
  if (purpose == Purpose::kLoad) {
    reader.use = [&](std::size_t tag, std::span<const std::byte> plain) {
      for (const Part& part : wanted_by[tag]->second) {
        std::memcpy(part.out.data(), plain.data() + part.chunk_offset, part.out.size());
      }
    };
  }
  handle_->pack().read_chunks(std::move(reads), reader);
  if (failures.empty()) return;

  std::set<std::string> touched;
  for (const auto& [number, failure] : failures) {
    for (const Part& part : parts.at(number)) touched.insert(place_of(part.tensor));
  }
  std::string message = "checkpoint " + base::quoted(info_.name) + " (id " +
                        std::to_string(info_.id) +
                        ") is damaged: " + std::to_string(touched.size()) +
                        (touched.size() == 1 ? " tensor (" : " tensors (");
  std::size_t named = 0;
  for (const std::string& name : touched) {
    if (named == kPlacesInMessage) {
      message += ", ...";
      break;
    }
    message += (named++ == 0 ? "" : ", ") + base::quoted(name);
  }
  message += "), ";
  named = 0;
  for (const auto& [number, failure] : failures) {
    if (named == kPlacesInMessage) {
      message += "; and " + std::to_string(failures.size() - named) + " more";
      break;
    }
    message += (named++ == 0 ? "" : "; ") + failure.message;
  }
  message += "; load another checkpoint, and see `cairn verify` for all damage";
  throw Error(failures.begin()->second.code, message,
              {.offset = index_.chunks[failures.begin()->first].offset});
}

void CheckpointReader::read_range(std::size_t tensor, std::uint64_t offset,
                                  std::span<std::byte> out) const {
  require_usable();
  if (!base::range_fits(offset, out.size(), tensor_at(tensor).bytes)) {
    throw Error(ErrorCode::kInvalidArgument,
                "bytes " + std::to_string(offset) + " to " + std::to_string(offset + out.size()) +
                    " lie outside tensor " + base::quoted(place_of(tensor)) + ", which has " +
                    std::to_string(tensors_[tensor].bytes));
  }
  Parts parts;
  add_parts(tensor, offset, out, parts);
  run(parts, Purpose::kLoad);
}

void CheckpointReader::load(std::span<const LoadTarget> targets, LoadMode mode) const {
  require_usable();
  for (const LoadTarget& target : targets) {
    if (target.out.size() != tensor_at(target.tensor).bytes) {
      throw Error(ErrorCode::kInvalidArgument,
                  "tensor " + base::quoted(place_of(target.tensor)) + " has " +
                      std::to_string(tensors_[target.tensor].bytes) + " bytes, its target " +
                      std::to_string(target.out.size()));
    }
  }
  const auto parts_into = [&](std::span<const LoadTarget> where) {
    Parts parts;
    for (const LoadTarget& target : where) add_parts(target.tensor, 0, target.out, parts);
    return parts;
  };
  if (mode == LoadMode::kStaged) {
    std::uint64_t bytes = 0;
    for (const LoadTarget& target : targets) bytes += target.out.size();
    io::AlignedBuffer memory = io::huge_buffer(bytes);
    std::span<std::byte> rest = memory.span();
    std::vector<LoadTarget> stages;
    for (const LoadTarget& target : targets) {
      stages.push_back({.tensor = target.tensor, .out = rest.first(target.out.size())});
      rest = rest.subspan(target.out.size());
    }
    run(parts_into(stages), Purpose::kLoad);
    base::parallel_for(targets.size(), [&](std::size_t i) {
      if (!targets[i].out.empty()) {
        std::memcpy(targets[i].out.data(), stages[i].out.data(), targets[i].out.size());
      }
    });
    return;
  }
  const Parts parts = parts_into(targets);
  if (mode == LoadMode::kVerifyFirst) run(parts, Purpose::kCheck);
  run(parts, Purpose::kLoad);
}

// ---- copying ------------------------------------------------------------------------------------

NewCheckpoint CheckpointReader::copy(const CopyOptions& options) const {
  require_usable();
  NewCheckpoint copy{.recoverables = index_.recoverables,
                     .meta = index_.meta,
                     .name = options.name.empty() ? info_.name : options.name,
                     .replace = options.replace,
                     .created_unix_ns = info_.created_unix_ns};
  require_checkpoint_name(copy.name);
  copy.chunks.reserve(index_.chunks.size());
  const auto done = std::make_shared<std::atomic<std::uint64_t>>(0);
  for (const ChunkRef& chunk : index_.chunks) {
    copy.chunks.push_back(content_of(handle_->pack(), chunk,
                                     [done, progress = options.progress](std::uint64_t bytes) {
                                       if (progress) progress({.done_bytes = *done += bytes});
                                     }));
  }
  return copy;
}

}  // namespace cairn::store
