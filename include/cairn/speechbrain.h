// Import of checkpoints that Python's SpeechBrain saved.
#pragma once

#include <cairn/meta_value.h>
#include <cairn/state.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace cairn {

/// Turns the YAML text of a file into its value, or into nothing for null. The library links no
/// YAML parser, so the caller brings one; `cairn import` uses libyaml.
using ParseYaml =
    std::function<std::optional<MetaValue>(std::string_view text, const std::filesystem::path&)>;

struct SpeechBrainCheckpoint {
  CheckpointState state = {};
  Metadata meta = {};
  std::vector<std::string> ignored = {};  ///< Names in the directory that are no part of it.
};

/// Whether a directory holds a CKPT.yaml. Errors: io.
bool looks_like_speechbrain(const std::filesystem::path& directory);

/// Opens a checkpoint of SpeechBrain, a directory, ready for `Store::save`. Nothing of it is run.
///
/// CKPT.yaml becomes the metadata, and each NAME.ckpt the recoverable NAME: a .pt file as
/// `read_torch_file` takes it, or YAML of at most 1 MiB, a map as the values, anything else as the
/// value "value". `skipped` are recoverables to leave out.
/// Errors: those of `read_torch_file` and `parse`; invalid_argument (a file of another kind, with
/// its name); not_found (the directory, or a skipped recoverable). Source:
/// speechbrain/utils/checkpoints.py; what its classes save with (epoch_loop.py, schedulers.py,
/// core.py).
SpeechBrainCheckpoint read_speechbrain(const std::filesystem::path& directory,
                                       const ParseYaml& parse,
                                       const std::set<std::string>& skipped = {});

}  // namespace cairn
