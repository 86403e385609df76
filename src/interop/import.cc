#include "io/file.h"

#include <cairn/error.h>
#include <cairn/import.h>
#include <cairn/safetensors.h>
#include <cairn/speechbrain.h>
#include <cairn/torch_file.h>

#include <string>
#include <string_view>

namespace cairn {

namespace {

using Kind = ImportSource::Kind;

[[noreturn]] void refuse(const std::filesystem::path& directory, const std::string& why) {
  throw Error(ErrorCode::kInvalidArgument, why, {.path = directory});
}

std::filesystem::path index_in(const std::filesystem::path& directory) {
  constexpr std::string_view kEnd = ".safetensors.index.json";
  std::filesystem::path found;
  std::string checkpoint;
  for (const std::string& name : io::list_directory(directory)) {
    if (looks_like_speechbrain(directory / name)) checkpoint = name;
    if (!name.ends_with(kEnd)) continue;
    if (!found.empty()) refuse(directory, "it holds several *.safetensors.index.json; name one");
    found = directory / name;
  }
  if (!found.empty()) return found;
  if (!checkpoint.empty()) {
    refuse(directory, "it holds checkpoints of SpeechBrain; name one, such as " +
                          (directory / checkpoint).native());
  }
  refuse(directory,
         "it holds neither a CKPT.yaml, as a checkpoint of SpeechBrain does, nor a "
         "*.safetensors.index.json");
}

bool leads_to_directory(const std::filesystem::path& path) {
  // A slash at the end follows a link that stands there.
  return io::path_kind(path / "") == io::PathKind::kDirectory;
}

}  // namespace

ImportSource recognize_import(const std::filesystem::path& path) {
  if (leads_to_directory(path)) {
    if (looks_like_speechbrain(path)) return {Kind::kSpeechBrain, path};
    return {Kind::kShardedSafetensors, index_in(path)};
  }
  if (looks_like_torch_file(path)) return {Kind::kTorchFile, path};
  if (looks_like_safetensors_index(path)) return {Kind::kShardedSafetensors, path};
  return {Kind::kSafetensors, path};
}

}  // namespace cairn
