// Import: headers read and checked whole, data read by the save itself, a piece at a time. Export:
// see export_file.h.
#include "base/little_endian.h"
#include "base/text.h"
#include "interop/export_file.h"
#include "interop/safetensors_header.h"
#include "interop/safetensors_index.h"
#include "io/file.h"

#include <cairn/error.h>
#include <cairn/safetensors.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string_view>
#include <tuple>
#include <utility>

namespace cairn {
namespace {

using interop::exported_name;
using interop::ExportFile;
using interop::SafetensorsEntry;
using interop::SafetensorsHeader;
using interop::SafetensorsIndex;

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

// The tensors in the order of the format's own writer; their places come with the files.
std::vector<Outgoing> lay_out(const Checkpoint& checkpoint, const SafetensorsExportOptions& options,
                              bool prefixed) {
  const std::span<const TensorInfo> tensors = checkpoint.tensors();
  std::vector<Outgoing> outgoing;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& tensor = tensors[i];
    if (!exports(tensor, options)) continue;
    outgoing.push_back(
        {i,
         {.name = exported_name(prefixed ? tensor.recoverable : std::string_view(), tensor.key),
          .dtype = tensor.dtype,
          .shape = {tensor.shape.begin(), tensor.shape.end()}}});
  }
  check_exportable(outgoing);
  std::sort(outgoing.begin(), outgoing.end(), [](const Outgoing& a, const Outgoing& b) {
    const int rank_a = interop::safetensors_dtype_rank(a.entry.dtype);
    const int rank_b = interop::safetensors_dtype_rank(b.entry.dtype);
    return std::tie(rank_a, a.entry.name) < std::tie(rank_b, b.entry.name);
  });
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
      metadata->emplace(exported_name(prefix, key), value.as_string());
    }
  }
  return metadata;
}

// Reads the tensors that one file holds.
interop::SafetensorsHeader read_header(const io::File& file, std::uint64_t& data_offset) {
  const std::string text = read_header_text(file);
  data_offset = interop::kLengthBytes + text.size();
  const std::uint64_t file_bytes = file.bytes();
  if (file_bytes < data_offset) {
    throw Error(ErrorCode::kTruncated, "the file became shorter while it was read",
                {.path = file.path()});
  }
  return interop::parse_safetensors_header(text, file_bytes - data_offset, file.path());
}

void add_tensors(const std::shared_ptr<const io::File>& file, std::uint64_t data_offset,
                 std::vector<SafetensorsEntry>& entries, RecoverableState& state) {
  state.tensors.reserve(state.tensors.size() + entries.size());
  for (SafetensorsEntry& entry : entries) {
    state.tensors.push_back(
        {.key = std::move(entry.name),
         .dtype = entry.dtype,
         .shape = std::move(entry.shape),
         .source = std::make_shared<FileRange>(file, data_offset + entry.begin)});
  }
}

std::shared_ptr<const io::File> open_shared(const std::filesystem::path& path) {
  return std::make_shared<const io::File>(io::File::open(path, io::File::Access::kRead));
}

// ---- shards -----------------------------------------------------------------------------------

// Names for a message, the first few of them.
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMaxListedNames); ++i) {
    text += (text.empty() ? "" : ", ") + base::quoted(names[i]);
  }
  if (names.size() > kMaxListedNames) {
    text += " and " + std::to_string(names.size() - kMaxListedNames) + " more";
  }
  return text;
}

// Index and shards must tell of the same tensors: which of the two is right cannot be known.
class ShardReader {
 public:
  ShardReader(const std::filesystem::path& index_file, SafetensorsIndex index,
              RecoverableState& state)
      : index_file_(index_file), index_(std::move(index)), state_(state) {}

  void read() {
    std::map<std::string, std::vector<std::string>> tensors_of;  // by shard, sorted
    for (const auto& [tensor, shard] : index_.shard_of) tensors_of[shard].push_back(tensor);
    if (tensors_of.size() > interop::kMaxShards) {
      throw Error(ErrorCode::kInvalidArgument,
                  "the index names " + std::to_string(tensors_of.size()) + " shards; at most " +
                      std::to_string(interop::kMaxShards) + " can be read",
                  {.path = index_file_});
    }
    std::vector<std::string> absent;
    for (const auto& [shard, tensors] : tensors_of) {
      if (io::path_kind(beside(shard)) == io::PathKind::kAbsent) absent.push_back(shard);
    }
    if (!absent.empty()) {
      throw Error(ErrorCode::kNotFound,
                  "the shards " + listed(absent) + ", which the index names, are not beside it",
                  {.path = index_file_});
    }
    for (const auto& [shard, tensors] : tensors_of) read_shard(shard, tensors);
    keep_metadata();
  }

 private:
  std::filesystem::path beside(const std::string& shard) const {
    return index_file_.parent_path() / shard;
  }

  void read_shard(const std::string& shard, const std::vector<std::string>& expected) {
    const auto file = open_shared(beside(shard));
    std::uint64_t data_offset = 0;
    SafetensorsHeader header = read_header(*file, data_offset);
    std::vector<std::string> found;
    for (const SafetensorsEntry& entry : header.entries) found.push_back(entry.name);
    std::sort(found.begin(), found.end());
    check_same(shard, expected, found);
    add_tensors(file, data_offset, header.entries, state_);
    if (header.metadata) metadata_.emplace_back(shard, *std::move(header.metadata));
  }

  void check_same(const std::string& shard, const std::vector<std::string>& expected,
                  const std::vector<std::string>& found) const {
    std::vector<std::string> missing;
    std::set_difference(expected.begin(), expected.end(), found.begin(), found.end(),
                        std::back_inserter(missing));
    if (!missing.empty()) {
      throw Error(ErrorCode::kDamaged,
                  "the index says that shard " + base::quoted(shard) + " holds the tensors " +
                      listed(missing) + ", and it does not",
                  {.path = beside(shard)});
    }
    std::vector<std::string> more;
    std::set_difference(found.begin(), found.end(), expected.begin(), expected.end(),
                        std::back_inserter(more));
    if (more.empty()) return;
    const auto elsewhere = index_.shard_of.find(more.front());
    throw Error(ErrorCode::kDamaged,
                "shard " + base::quoted(shard) + " holds the tensors " + listed(more) +
                    ", which the index " +
                    (elsewhere == index_.shard_of.end()
                         ? "does not know"
                         : "places elsewhere; " + base::quoted(more.front()) + " in " +
                               base::quoted(elsewhere->second)),
                {.path = beside(shard)});
  }

  // What all shards that have an entry agree on keeps its key; else each shard's is kept apart.
  void keep_metadata() {
    std::map<std::string_view, std::set<std::string_view>> texts_of;
    for (const auto& [shard, metadata] : metadata_) {
      for (const auto& [key, text] : metadata) texts_of[key].insert(text);
    }
    MetaValue::Map together;
    for (const auto& [shard, metadata] : metadata_) {
      for (const auto& [key, text] : metadata) {
        together.emplace(texts_of[key].size() == 1 ? key : shard + ":" + key, text);
      }
    }
    if (!metadata_.empty()) state_.values.emplace(interop::kMetadataKey, std::move(together));
    if (!index_.metadata.empty()) {
      state_.values.emplace(interop::kIndexMetadataKey, std::move(index_.metadata));
    }
  }

  const std::filesystem::path& index_file_;
  SafetensorsIndex index_;
  RecoverableState& state_;
  std::vector<std::pair<std::string, std::map<std::string, std::string>>> metadata_;
};

// ---- export -----------------------------------------------------------------------------------

// Writes one file that holds `tensors`, all but its publication.
ExportFile write_file(const Checkpoint& checkpoint, const std::filesystem::path& path,
                      std::span<Outgoing> tensors,
                      const std::optional<std::map<std::string, std::string>>& metadata,
                      interop::TensorReader& reader) {
  SafetensorsHeader header{.metadata = metadata};
  std::vector<std::size_t> positions;
  std::uint64_t end = 0;
  for (Outgoing& one : tensors) {
    one.entry.begin = end;
    end += checkpoint.tensors()[one.tensor].bytes;
    one.entry.end = end;
    header.entries.push_back(one.entry);
    positions.push_back(one.tensor);
  }
  const std::string text = interop::format_safetensors_header(header);
  if (text.size() > interop::kMaxHeaderBytes) {
    throw Error(ErrorCode::kInvalidArgument,
                "the header would have " + std::to_string(text.size()) +
                    " bytes, and readers of safetensors take at most " +
                    std::to_string(interop::kMaxHeaderBytes) +
                    "; export one recoverable at a time, or in shards");
  }
  ExportFile file(path);
  file.file().reserve(0, interop::kLengthBytes + text.size() + end);
  std::array<std::byte, interop::kLengthBytes> length{};
  base::store_le<std::uint64_t>(length, 0, text.size());
  file.append(length);
  file.append(text);
  reader.for_each_piece(positions,
                        [&](std::size_t, std::span<const std::byte> bytes) { file.append(bytes); });
  return file;
}

// "DIR/model-00002-of-00003.safetensors" for "DIR/model.safetensors".
std::filesystem::path shard_path(const std::filesystem::path& file, std::size_t number,
                                 std::size_t count) {
  constexpr std::size_t kDigits = 5;
  const auto padded = [&](std::size_t n) {
    const std::string digits = std::to_string(n);
    return std::string(kDigits - std::min(kDigits, digits.size()), '0') + digits;
  };
  return file.parent_path() / (file.stem().native() + "-" + padded(number) + "-of-" +
                               padded(count) + file.extension().native());
}

// Where each shard begins: as many tensors as fit, and at least one.
std::vector<std::size_t> cut_into_shards(const Checkpoint& checkpoint,
                                         std::span<const Outgoing> outgoing,
                                         std::uint64_t shard_bytes) {
  std::vector<std::size_t> begins{0};
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < outgoing.size(); ++i) {
    const std::uint64_t more = checkpoint.tensors()[outgoing[i].tensor].bytes;
    if (i > begins.back() && (bytes > shard_bytes || more > shard_bytes - bytes)) {
      begins.push_back(i);
      bytes = 0;
    }
    bytes += more;
  }
  begins.push_back(outgoing.size());
  return begins;
}

// The index's metadata that the exported recoverables were imported with.
MetaValue::Map index_metadata_of(const Checkpoint& checkpoint,
                                 const SafetensorsExportOptions& options) {
  MetaValue::Map metadata;
  for (const std::string& recoverable : checkpoint.info().recoverables) {
    if (!options.recoverable.empty() && recoverable != options.recoverable) continue;
    const MetaValue::Map& values = checkpoint.values(recoverable);
    const auto it = values.find(interop::kIndexMetadataKey);
    if (it == values.end() || !it->second.is_map()) continue;
    for (const auto& [key, value] : it->second.as_map()) metadata.emplace(key, value);
  }
  return metadata;
}

}  // namespace

RecoverableState read_safetensors(const std::filesystem::path& file, std::string recoverable) {
  const auto opened = open_shared(file);
  std::uint64_t data_offset = 0;
  SafetensorsHeader header = read_header(*opened, data_offset);
  RecoverableState state{.name = std::move(recoverable)};
  add_tensors(opened, data_offset, header.entries, state);
  if (header.metadata) {
    MetaValue::Map metadata;
    for (auto& [key, value] : *header.metadata) metadata.emplace(key, std::move(value));
    state.values.emplace(interop::kMetadataKey, std::move(metadata));
  }
  return state;
}

RecoverableState read_sharded_safetensors(const std::filesystem::path& index,
                                          std::string recoverable) {
  const io::File file = io::File::open(index, io::File::Access::kRead);
  if (file.bytes() > interop::kMaxIndexBytes) {
    throw Error(ErrorCode::kDamaged,
                "an index of shards has at most " + std::to_string(interop::kMaxIndexBytes) +
                    " bytes, and this file " + std::to_string(file.bytes()),
                {.path = index});
  }
  std::string text(file.bytes(), '\0');
  file.read_exactly(0, std::as_writable_bytes(std::span(text)));
  RecoverableState state{.name = std::move(recoverable)};
  ShardReader(index, interop::parse_safetensors_index(text, index), state).read();
  return state;
}

void write_safetensors(const Checkpoint& checkpoint, const std::filesystem::path& file,
                       const SafetensorsExportOptions& options) {
  interop::check_destination(file, options.overwrite);
  interop::check_recoverable(checkpoint, options.recoverable);
  const bool prefixed = interop::needs_recoverable(checkpoint, options.recoverable);
  std::vector<Outgoing> outgoing = lay_out(checkpoint, options, prefixed);
  std::uint64_t total_bytes = 0;
  for (const Outgoing& one : outgoing) total_bytes += checkpoint.tensors()[one.tensor].bytes;
  interop::TensorReader reader(checkpoint, options.progress, total_bytes);
  write_file(checkpoint, file, outgoing, metadata_of(checkpoint, options, prefixed), reader)
      .publish();
}

std::vector<std::filesystem::path> write_sharded_safetensors(
    const Checkpoint& checkpoint, const std::filesystem::path& file, std::uint64_t shard_bytes,
    const SafetensorsExportOptions& options) {
  std::filesystem::path index_path = file;
  index_path += ".index.json";
  interop::check_destination(index_path, options.overwrite);
  interop::check_recoverable(checkpoint, options.recoverable);
  const bool prefixed = interop::needs_recoverable(checkpoint, options.recoverable);
  std::vector<Outgoing> outgoing = lay_out(checkpoint, options, prefixed);
  const auto metadata = metadata_of(checkpoint, options, prefixed);
  const std::vector<std::size_t> begins = cut_into_shards(checkpoint, outgoing, shard_bytes);
  const std::size_t count = begins.size() - 1;
  if (count > interop::kMaxShards) {
    throw Error(ErrorCode::kInvalidArgument,
                "shards of " + std::to_string(shard_bytes) + " bytes would be " +
                    std::to_string(count) + "; at most " + std::to_string(interop::kMaxShards) +
                    " can be read again, so make them larger");
  }

  SafetensorsIndex index{.metadata = index_metadata_of(checkpoint, options)};
  std::uint64_t total_bytes = 0;
  std::vector<std::filesystem::path> paths{index_path};
  for (std::size_t i = 0; i < count; ++i) {
    paths.push_back(shard_path(file, i + 1, count));
    interop::check_destination(paths.back(), options.overwrite);
    for (std::size_t at = begins[i]; at < begins[i + 1]; ++at) {
      index.shard_of.emplace(outgoing[at].entry.name, paths.back().filename().native());
      total_bytes += checkpoint.tensors()[outgoing[at].tensor].bytes;
    }
  }
  index.metadata.insert_or_assign(std::string(interop::kTotalSizeKey), MetaValue(total_bytes));

  interop::TensorReader reader(checkpoint, options.progress, total_bytes);
  std::vector<ExportFile> files;
  for (std::size_t i = 0; i < count; ++i) {
    const auto part = std::span(outgoing).subspan(begins[i], begins[i + 1] - begins[i]);
    files.push_back(write_file(checkpoint, paths[i + 1], part, metadata, reader));
    files.back().finish();
  }
  ExportFile index_file(index_path);
  index_file.append(interop::format_safetensors_index(index));
  index_file.finish();
  // An old index must not stand beside new shards, not even for a moment.
  if (io::remove_file(index_path)) io::sync_directory(index_path.parent_path());
  for (ExportFile& one : files) one.rename();
  io::sync_directory(index_path.parent_path());
  index_file.rename();
  io::sync_directory(index_path.parent_path());
  return paths;
}

bool looks_like_safetensors_index(const std::filesystem::path& path) {
  const io::File file = io::File::open(path, io::File::Access::kRead);
  // Of a safetensors file the first eight bytes are a length, which text would make enormous.
  std::array<std::byte, 256> begin{};
  const std::size_t count = file.read_some(0, begin);
  const std::string_view text(reinterpret_cast<const char*>(begin.data()), count);
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{') return false;
  return count < interop::kLengthBytes ||
         base::load_le<std::uint64_t>(begin, 0) > interop::kMaxHeaderBytes;
}

}  // namespace cairn
