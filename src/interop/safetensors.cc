// Import: header read and checked whole, data read by the save itself, a piece at a time.
//
// Export, so that the file appears complete or not at all:
//   1. make a file of another name in the same directory,
//   2. write header and tensors, each verified against its digests as it is read,
//   3. fsync it, rename it over the wanted name, fsync the directory.
// A failure removes the file of step 1; a kill may leave it, under a name that begins with a dot.
#include "base/little_endian.h"
#include "base/text.h"
#include "interop/safetensors_header.h"
#include "io/aligned_buffer.h"
#include "io/file.h"

#include <cairn/error.h>
#include <cairn/safetensors.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>
#include <tuple>
#include <utility>

namespace cairn {
namespace {

using interop::SafetensorsEntry;
using interop::SafetensorsHeader;

// What an export holds in memory at a time, unless one chunk is larger.
constexpr std::uint64_t kBatchBytes = std::uint64_t{8} << 20;
constexpr std::size_t kMaxListedNames = 10;

// The bytes of one tensor in an open file.
class FileRange : public TensorSource {
 public:
  FileRange(std::shared_ptr<const io::File> file, std::uint64_t offset)
      : file_(std::move(file)), offset_(offset) {}
  void read(std::uint64_t offset, std::span<std::byte> out) const override {
    file_->read_exactly(offset_ + offset, out);
  }

 private:
  std::shared_ptr<const io::File> file_;
  std::uint64_t offset_;
};

// Reads the header's text; its length is checked against the limit and the file before it costs
// memory.
std::string read_header_text(const io::File& file) {
  const std::uint64_t file_bytes = file.bytes();
  if (file_bytes < interop::kLengthBytes) {
    throw Error(
        ErrorCode::kTruncated,
        "the file has " + std::to_string(file_bytes) + " bytes, too few for a safetensors file",
        {.path = file.path()});
  }
  std::array<std::byte, interop::kLengthBytes> length{};
  file.read_exactly(0, length);
  const auto header_bytes = base::load_le<std::uint64_t>(length, 0);
  if (header_bytes > interop::kMaxHeaderBytes) {
    throw Error(ErrorCode::kDamaged,
                "the file claims a header of " + std::to_string(header_bytes) +
                    " bytes; a safetensors header has at most " +
                    std::to_string(interop::kMaxHeaderBytes),
                {.path = file.path(), .offset = 0});
  }
  if (header_bytes > file_bytes - interop::kLengthBytes) {
    throw Error(ErrorCode::kTruncated,
                "the file ends inside its header of " + std::to_string(header_bytes) + " bytes",
                {.path = file.path()});
  }
  std::string text(header_bytes, '\0');
  file.read_exactly(interop::kLengthBytes, std::as_writable_bytes(std::span(text)));
  return text;
}

// A tensor on its way out.
struct Outgoing {
  std::size_t tensor = 0;  // Position in `Checkpoint::tensors()`.
  SafetensorsEntry entry = {};
};

bool exports(const TensorInfo& tensor, const SafetensorsExportOptions& options) {
  return options.recoverable.empty() || tensor.recoverable == options.recoverable;
}

// With several recoverables, names are told apart by their recoverable.
std::string name_with(std::string_view prefix, std::string_view key) {
  return prefix.empty() ? std::string(key) : std::string(prefix) + "/" + std::string(key);
}

void check_exportable(const std::vector<Outgoing>& outgoing) {
  std::string names;
  std::size_t refused = 0;
  for (const Outgoing& one : outgoing) {
    if (one.entry.name == interop::kMetadataKey) {
      throw Error(ErrorCode::kInvalidArgument,
                  "a safetensors file cannot hold a tensor named \"__metadata__\"");
    }
    if (interop::safetensors_dtype_name(one.entry.dtype)) continue;
    if (++refused > kMaxListedNames) continue;
    names += (names.empty() ? "" : ", ") + base::quoted(one.entry.name) + " (" +
             std::string(to_string(one.entry.dtype)) + ")";
  }
  if (refused == 0) return;
  if (refused > kMaxListedNames) {
    names += " and " + std::to_string(refused - kMaxListedNames) + " more";
  }
  throw Error(ErrorCode::kInvalidArgument,
              "the safetensors format has no dtype for the tensors " + names);
}

// The tensors in the order of the format's own writer, each with its place in the file.
std::vector<Outgoing> lay_out(const Checkpoint& checkpoint, const SafetensorsExportOptions& options,
                              bool prefixed) {
  const std::span<const TensorInfo> tensors = checkpoint.tensors();
  std::vector<Outgoing> outgoing;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = tensors[i];
    if (!exports(tensor, options)) continue;
    outgoing.push_back(
        {i,
         {.name = name_with(prefixed ? tensor.recoverable : std::string_view(), tensor.key),
          .dtype = tensor.dtype,
          .shape = {tensor.shape.begin(), tensor.shape.end()},
          .end = tensor.bytes}});
  }
  check_exportable(outgoing);
  std::sort(outgoing.begin(), outgoing.end(), [](const Outgoing& a, const Outgoing& b) {
    const int rank_a = interop::safetensors_dtype_rank(a.entry.dtype);
    const int rank_b = interop::safetensors_dtype_rank(b.entry.dtype);
    return std::tie(rank_a, a.entry.name) < std::tie(rank_b, b.entry.name);
  });
  std::uint64_t end = 0;
  for (Outgoing& one : outgoing) {
    one.entry.begin = end;
    end += one.entry.end;
    one.entry.end = end;
  }
  return outgoing;
}

// The metadata that the exported recoverables were imported with.
std::optional<std::map<std::string, std::string>> metadata_of(
    const Checkpoint& checkpoint, const SafetensorsExportOptions& options, bool prefixed) {
  std::optional<std::map<std::string, std::string>> metadata;
  for (const std::string& recoverable : checkpoint.info().recoverables) {
    if (!options.recoverable.empty() && recoverable != options.recoverable) continue;
    const MetaValue::Map& values = checkpoint.values(recoverable);
    const auto it = values.find(interop::kMetadataKey);
    if (it == values.end() || !it->second.is_map()) continue;
    const MetaValue::Map& entries = it->second.as_map();
    const bool all_strings = std::all_of(
        entries.begin(), entries.end(), [](const auto& entry) { return entry.second.is_string(); });
    if (!all_strings) continue;
    if (!metadata) metadata.emplace();
    for (const auto& [key, value] : entries) {
      const std::string_view prefix = prefixed ? std::string_view(recoverable) : std::string_view();
      metadata->emplace(name_with(prefix, key), value.as_string());
    }
  }
  return metadata;
}

// Removes its file again unless that was renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::filesystem::path& beside)
      : path_(beside.parent_path() / random_name()), file_(io::File::create_new(path_)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (path_.empty()) return;
    try {
      io::remove_file(path_);
    } catch (const Error&) {
      // Nothing more can be done; the error that led here is the one to report.
    }
  }

  const io::File& file() const { return file_; }

  void publish(const std::filesystem::path& as) {
    file_.sync_all();
    io::rename_file(path_, as);
    path_.clear();
    io::sync_directory(as.parent_path());
  }

 private:
  // Not made from the wanted name, which may be as long as the file system allows.
  static std::string random_name() {
    std::array<std::byte, 8> random{};
    io::fill_random(random);
    std::string name = ".cairn-export-";
    for (const std::byte byte : random) {
      name += "0123456789abcdef"[std::to_integer<unsigned>(byte) >> 4];
      name += "0123456789abcdef"[std::to_integer<unsigned>(byte) & 0xF];
    }
    return name;
  }

  std::filesystem::path path_;
  io::File file_;
};

// Copies tensors into the file, one after the other: large ones in pieces, small ones together, so
// that a chunk that many of them share is read once.
class DataWriter {
 public:
  DataWriter(const Checkpoint& checkpoint, const io::File& file, std::uint64_t data_offset)
      : checkpoint_(checkpoint), file_(file), data_offset_(data_offset), buffer_(kBatchBytes) {}

  void add(const Outgoing& one) {
    const std::uint64_t bytes = one.entry.end - one.entry.begin;
    if (bytes > kBatchBytes - batch_bytes_) flush();
    if (bytes > kBatchBytes) return copy_large(one);
    batch_.push_back({one.tensor, buffer_.span().subspan(batch_bytes_, bytes)});
    if (batch_bytes_ == 0) batch_begin_ = one.entry.begin;
    batch_bytes_ += bytes;
  }

  void flush() {
    if (batch_.empty()) return;
    // Straight into the buffer: it is no one's but ours until it is written.
    checkpoint_.load(batch_, LoadMode::kSinglePass);
    file_.write(data_offset_ + batch_begin_, buffer_.span().first(batch_bytes_));
    batch_.clear();
    batch_bytes_ = 0;
  }

 private:
  void copy_large(const Outgoing& one) {
    const std::uint64_t bytes = one.entry.end - one.entry.begin;
    const std::uint64_t piece = piece_bytes(one.tensor);
    if (buffer_.size() < piece) buffer_ = io::AlignedBuffer(piece);
    for (std::uint64_t done = 0; done < bytes; done += piece) {
      const auto out = buffer_.span().first(std::min(piece, bytes - done));
      checkpoint_.read_range(one.tensor, done, out);
      file_.write(data_offset_ + one.entry.begin + done, out);
    }
  }

  // About a batch, in whole chunks: a chunk that two pieces share would be read and checked twice.
  std::uint64_t piece_bytes(std::size_t tensor) const {
    const std::vector<ChunkInfo> chunks = checkpoint_.chunks(tensor);
    const std::uint64_t chunk =
        chunks.empty() ? 1 : std::max<std::uint64_t>(chunks[0].plain_bytes, 1);
    return chunk * std::max<std::uint64_t>(1, kBatchBytes / chunk);
  }

  const Checkpoint& checkpoint_;
  const io::File& file_;
  std::uint64_t data_offset_;
  io::AlignedBuffer buffer_;
  std::vector<LoadTarget> batch_;
  std::uint64_t batch_begin_ = 0;
  std::uint64_t batch_bytes_ = 0;
};

// Replacing what is no regular file would be a surprise: a link, a device, a pipe.
void check_destination(const std::filesystem::path& file, bool overwrite) {
  const std::filesystem::path directory = file.parent_path();
  if (!directory.empty() && io::path_kind(directory) == io::PathKind::kAbsent) {
    throw Error(ErrorCode::kNotFound, "there is no such directory", {.path = directory});
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

}  // namespace

RecoverableState read_safetensors(const std::filesystem::path& file, std::string recoverable) {
  const auto opened =
      std::make_shared<const io::File>(io::File::open(file, io::File::Access::kRead));
  const std::string text = read_header_text(*opened);
  const std::uint64_t data_offset = interop::kLengthBytes + text.size();
  const std::uint64_t file_bytes = opened->bytes();
  if (file_bytes < data_offset) {
    throw Error(ErrorCode::kTruncated, "the file became shorter while it was read", {.path = file});
  }
  SafetensorsHeader header =
      interop::parse_safetensors_header(text, file_bytes - data_offset, file);

  RecoverableState state{.name = std::move(recoverable)};
  state.tensors.reserve(header.entries.size());
  for (SafetensorsEntry& entry : header.entries) {
    state.tensors.push_back(
        {.key = std::move(entry.name),
         .dtype = entry.dtype,
         .shape = std::move(entry.shape),
         .source = std::make_shared<FileRange>(opened, data_offset + entry.begin)});
  }
  if (header.metadata) {
    MetaValue::Map metadata;
    for (auto& [key, value] : *header.metadata) metadata.emplace(key, std::move(value));
    state.values.emplace(interop::kMetadataKey, std::move(metadata));
  }
  return state;
}

void write_safetensors(const Checkpoint& checkpoint, const std::filesystem::path& file,
                       const SafetensorsExportOptions& options) {
  check_destination(file, options.overwrite);
  if (!options.recoverable.empty() && !checkpoint.has_recoverable(options.recoverable)) {
    throw Error(ErrorCode::kNotFound, "the checkpoint " + base::quoted(checkpoint.info().name) +
                                          " has no recoverable " +
                                          base::quoted(options.recoverable));
  }
  const bool prefixed = options.recoverable.empty() && checkpoint.info().recoverables.size() > 1;
  const std::vector<Outgoing> outgoing = lay_out(checkpoint, options, prefixed);
  SafetensorsHeader header{.metadata = metadata_of(checkpoint, options, prefixed)};
  header.entries.reserve(outgoing.size());
  for (const Outgoing& one : outgoing) header.entries.push_back(one.entry);
  const std::string text = interop::format_safetensors_header(header);
  if (text.size() > interop::kMaxHeaderBytes) {
    throw Error(ErrorCode::kInvalidArgument,
                "the header would have " + std::to_string(text.size()) +
                    " bytes, and readers of safetensors take at most " +
                    std::to_string(interop::kMaxHeaderBytes) +
                    "; export one recoverable at a time");
  }

  TemporaryFile temporary(file);
  const std::uint64_t data_offset = interop::kLengthBytes + text.size();
  const std::uint64_t data_bytes = outgoing.empty() ? 0 : outgoing.back().entry.end;
  temporary.file().reserve(0, data_offset + data_bytes);
  std::array<std::byte, interop::kLengthBytes> length{};
  base::store_le<std::uint64_t>(length, 0, text.size());
  temporary.file().write(0, length);
  temporary.file().write(interop::kLengthBytes, std::as_bytes(std::span(text)));
  DataWriter writer(checkpoint, temporary.file(), data_offset);
  for (const Outgoing& one : outgoing) writer.add(one);
  writer.flush();
  temporary.publish(file);
}

}  // namespace cairn
