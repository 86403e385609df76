#include "interop/export_file.h"

#include "base/text.h"

#include <cairn/error.h>

#include <algorithm>
#include <array>
#include <utility>

namespace cairn::interop {

namespace {

/// What is read at a time, unless one chunk is larger.
constexpr std::uint64_t kBatchBytes = std::uint64_t{8} << 20;
/// What gathers in memory before it is written.
constexpr std::size_t kPendingBytes = std::size_t{1} << 20;

// Not made from the wanted name, which may be as long as the file system allows.
std::string random_name() {
  std::array<std::byte, 8> random{};
  io::fill_random(random);
  std::string name = ".cairn-export-";
  for (const std::byte byte : random) {
    name += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
    name += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 0xF];
  }
  return name;
}

bool is_store(const std::filesystem::path& directory) {
  const auto has = [&](const char* name) {
    return io::path_kind(directory / name) != io::PathKind::kAbsent;
  };
  return has("pack") && (has("lock") || has("catalog.mdb"));
}

}  // namespace

void check_destination(const std::filesystem::path& file, bool overwrite) {
  const std::filesystem::path directory = file.parent_path();
  if (!directory.empty() && io::path_kind(directory) == io::PathKind::kAbsent) {
    throw Error(ErrorCode::kNotFound, "there is no such directory", {.path = directory});
  }
  if (is_store(directory)) {
    throw Error(ErrorCode::kInvalidArgument,
                "this lies in a store, among its own files; choose another place", {.path = file});
  }
  const io::PathKind kind = io::path_kind(file);
  if (kind == io::PathKind::kAbsent) return;
  if (kind == io::PathKind::kDirectory) {
    throw Error(ErrorCode::kInvalidArgument, "cannot write a file where a directory is",
                {.path = file});
  }
  if (kind == io::PathKind::kOther) {
    throw Error(ErrorCode::kInvalidArgument,
                "an export replaces only regular files, no links, devices or pipes",
                {.path = file});
  }
  if (!overwrite) throw Error(ErrorCode::kAlreadyExists, "the file exists", {.path = file});
}

void check_recoverable(const Checkpoint& checkpoint, const std::string& recoverable) {
  if (recoverable.empty() || checkpoint.has_recoverable(recoverable)) return;
  throw Error(ErrorCode::kNotFound, "the checkpoint " + base::quoted(checkpoint.info().name) +
                                        " has no recoverable " + base::quoted(recoverable));
}

std::string exported_name(std::string_view recoverable, std::string_view key) {
  return recoverable.empty() ? std::string(key) : std::string(recoverable) + "/" + std::string(key);
}

bool needs_recoverable(const Checkpoint& checkpoint, const std::string& recoverable) {
  return recoverable.empty() && checkpoint.info().recoverables.size() > 1;
}

ExportFile::ExportFile(const std::filesystem::path& destination)
    : destination_(destination),
      path_(destination.parent_path() / random_name()),
      file_(io::File::create_new(path_)) {}

ExportFile::ExportFile(ExportFile&& other) noexcept
    : destination_(std::move(other.destination_)),
      path_(std::exchange(other.path_, {})),
      file_(std::move(other.file_)),
      written_(other.written_),
      pending_(std::move(other.pending_)) {}

ExportFile::~ExportFile() {
  if (path_.empty()) return;
  try {
    io::remove_file(path_);
  } catch (const Error&) {
    // Nothing more can be done; the error that led here is the one to report.
  }
}

void ExportFile::append(std::span<const std::byte> bytes) {
  if (bytes.size() < kPendingBytes - std::min(kPendingBytes, pending_.size())) {
    pending_.insert(pending_.end(), bytes.begin(), bytes.end());
    return;
  }
  flush();
  file_.write(written_, bytes);
  written_ += bytes.size();
}

void ExportFile::flush() {
  file_.write(written_, pending_);
  written_ += pending_.size();
  pending_.clear();
}

void ExportFile::finish() {
  flush();
  pending_ = {};
  file_.sync_all();
  file_.close();
}

void ExportFile::rename() {
  io::rename_file(path_, destination_);
  path_.clear();
}

void ExportFile::publish() {
  finish();
  rename();
  io::sync_directory(destination_.parent_path());
}

TensorReader::TensorReader(const Checkpoint& checkpoint, ProgressCallback progress,
                           std::uint64_t total_bytes)
    : checkpoint_(checkpoint),
      progress_(std::move(progress)),
      done_{.total_bytes = total_bytes},
      buffer_(kBatchBytes) {}

void TensorReader::tell(std::uint64_t more) {
  done_.done_bytes += more;
  if (progress_) progress_(done_);
}

std::size_t TensorReader::batch_end(std::span<const std::size_t> tensors, std::size_t begin) const {
  std::uint64_t bytes = 0;
  std::size_t end = begin;
  while (end < tensors.size() && bytes_of(tensors[end]) <= kBatchBytes - bytes) {
    bytes += bytes_of(tensors[end++]);
  }
  return end;
}

std::span<const LoadTarget> TensorReader::read_batch(std::span<const std::size_t> tensors) {
  batch_.clear();
  std::size_t at = 0;
  for (const std::size_t tensor : tensors) {
    batch_.push_back({tensor, buffer_.span().subspan(at, bytes_of(tensor))});
    at += bytes_of(tensor);
  }
  // Straight into the buffer: it is no one's but ours.
  checkpoint_.load(batch_, LoadMode::kSinglePass);
  return batch_;
}

// About a batch, in whole chunks: a chunk that two pieces share would be read and checked twice.
std::uint64_t TensorReader::prepare_pieces(std::size_t tensor) {
  const std::vector<ChunkInfo> chunks = checkpoint_.chunks(tensor);
  const std::uint64_t chunk =
      chunks.empty() ? 1 : std::max<std::uint64_t>(chunks[0].plain_bytes, 1);
  const std::uint64_t piece = chunk * std::max<std::uint64_t>(1, kBatchBytes / chunk);
  if (buffer_.size() < piece) buffer_ = io::AlignedBuffer(piece);
  return piece;
}

std::span<const std::byte> TensorReader::read_piece(std::size_t tensor, std::uint64_t offset,
                                                    std::uint64_t piece_bytes) {
  const auto out = buffer_.span().first(std::min(piece_bytes, bytes_of(tensor) - offset));
  checkpoint_.read_range(tensor, offset, out);
  return out;
}

}  // namespace cairn::interop
