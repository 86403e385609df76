#include "base/text.h"
#include "io/file.h"

#include <cairn/error.h>
#include <cairn/speechbrain.h>
#include <cairn/torch_file.h>

#include <span>
#include <utility>

namespace cairn {

namespace {

constexpr std::string_view kMetadataFile = "CKPT.yaml";
constexpr std::string_view kExtension = ".ckpt";
/// As much as the metadata of a checkpoint may weigh.
constexpr std::uint64_t kMaxTextBytes = std::uint64_t{1} << 20;

std::string read_text(const std::filesystem::path& path) {
  const io::File file = io::File::open(path, io::File::Access::kRead);
  if (file.bytes() > kMaxTextBytes) {
    throw Error(ErrorCode::kInvalidArgument,
                "it has " + std::to_string(file.bytes()) + " bytes of text, more than values may",
                {.path = path});
  }
  std::string text(file.bytes(), '\0');
  file.read_exactly(0, std::as_writable_bytes(std::span(text)));
  return text;
}

Metadata read_metadata(const std::filesystem::path& path, const ParseYaml& parse) {
  const auto value = parse(read_text(path), path);
  if (!value) return {};
  if (value->is_map()) return Metadata(value->as_map());
  throw Error(ErrorCode::kInvalidArgument,
              "it holds no map of metadata, but a " + std::string(value->type_name()),
              {.path = path});
}

RecoverableState read_text_state(const std::filesystem::path& path, std::string name,
                                 const ParseYaml& parse) {
  RecoverableState state{.name = std::move(name)};
  auto value = parse(read_text(path), path);
  if (!value) return state;
  if (value->is_map()) {
    state.values = value->as_map();
  } else {
    state.values.emplace("value", *std::move(value));
  }
  return state;
}

}  // namespace

bool looks_like_speechbrain(const std::filesystem::path& directory) {
  return io::path_kind(directory / kMetadataFile) != io::PathKind::kAbsent;
}

SpeechBrainCheckpoint read_speechbrain(const std::filesystem::path& directory,
                                       const ParseYaml& parse,
                                       const std::set<std::string>& skipped) {
  const std::vector<std::string> names = io::list_directory(directory);
  SpeechBrainCheckpoint checkpoint{.meta = read_metadata(directory / kMetadataFile, parse)};
  std::set<std::string> missing = skipped;
  for (const std::string& name : names) {
    const std::filesystem::path path = directory / name;
    if (path.extension() != kExtension) {
      if (name != kMetadataFile) checkpoint.ignored.push_back(name);
      continue;
    }
    const std::string recoverable = path.stem();
    missing.erase(recoverable);
    if (skipped.contains(recoverable)) continue;
    checkpoint.state.push_back(looks_like_torch_file(path)
                                   ? read_torch_file(path, recoverable)
                                   : read_text_state(path, recoverable, parse));
  }
  if (missing.empty()) return checkpoint;
  throw Error(ErrorCode::kNotFound,
              "there is no recoverable " + base::quoted(*missing.begin()) + " to leave out",
              {.path = directory});
}

}  // namespace cairn
