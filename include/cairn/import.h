// Telling what can be imported apart.
#pragma once

#include <filesystem>

namespace cairn {

/// What a path leads to, told by its contents: names promise nothing.
struct ImportSource {
  enum class Kind {
    kSafetensors,         ///< `read_safetensors`, also for what is none of the others
    kShardedSafetensors,  ///< `read_sharded_safetensors`
    kTorchFile,           ///< `read_torch_file`
    kSpeechBrain          ///< `read_speechbrain`
  };
  Kind kind = Kind::kSafetensors;
  std::filesystem::path path{};  ///< For a directory with an index of shards, that of the index.
};

/// Errors: not_found; io; invalid_argument for a directory that holds neither a checkpoint of
/// SpeechBrain nor exactly one index of shards.
ImportSource recognize_import(const std::filesystem::path& path);

}  // namespace cairn
