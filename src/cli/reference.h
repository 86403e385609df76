// CKPT: how the command line names a checkpoint.
//
//   7              the id, or the name "7" when no checkpoint has that id
//   epoch-7        the name
//   latest         the newest
//   best:min:KEY   the one with the smallest number under a metadata key; best:max:KEY the largest
//   id:7, name:7   one of the two, where a word could be both
#pragma once

#include <cairn/checkpoint.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::cli {

/// The help text of an argument that is a CKPT.
inline constexpr std::string_view kCkptHelp =
    "An id, a name, latest, best:min:KEY, best:max:KEY, id:N or name:X.";

/// The checkpoint that `word` names, of a list with the newest first.
///
/// Errors: Failure with kNoSuchCheckpoint; UsageError for a malformed word; Failure with kFailed
/// for a word that names two; invalid_argument for a metadata key that no checkpoint has.
CheckpointInfo find_checkpoint(std::span<const CheckpointInfo> checkpoints, std::string_view word);

/// All that the words name, each once, in the order of the words. Errors: as above; with words that
/// name none, all of those are listed.
std::vector<CheckpointInfo> find_checkpoints(std::span<const CheckpointInfo> checkpoints,
                                             std::span<const std::string> words);

std::vector<std::uint64_t> ids_of(std::span<const CheckpointInfo> checkpoints);

}  // namespace cairn::cli
