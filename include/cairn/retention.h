// Which checkpoints to find, and which to keep: pure rules over lists of checkpoints.
// docs/retention.md has them beside SpeechBrain's.
#pragma once

#include <cairn/checkpoint.h>

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace cairn {

/// Says whether a checkpoint is meant, by its name, metadata or anything else known of it.
using CheckpointPredicate = std::function<bool(const CheckpointInfo&)>;
/// Ranks a checkpoint: the larger, the more it is wanted. NaN ranks last.
using CheckpointImportance = std::function<double(const CheckpointInfo&)>;

/// What to look for. At most one of `importance_key`, `max_key`, `min_key`; none: newest first.
struct FindOptions {
  CheckpointImportance importance_key = {};
  std::string max_key = {};                 ///< A metadata key whose largest value is wanted.
  std::string min_key = {};                 ///< A metadata key whose smallest value is wanted.
  CheckpointPredicate ckpt_predicate = {};  ///< Applied before ranking.
  std::optional<std::size_t> max_num_checkpoints = std::nullopt;
};

/// The checkpoints that `options` asks for, best first.
///
/// Order is total: importance, then the newer commit first; never the wall clock; NaN ranks last.
/// A checkpoint without the key is left out. Those known to be damaged are found like any other,
/// with `damaged` set: who hides them would hand out the second best as the best.
/// Errors: invalid_argument for more than one criterion, for a key under which something else than
/// a number stands, and for a key that none of the checkpoints accepted by the predicate has (the
/// message names the keys that exist). Where the predicate accepts none, the answer is empty.
std::vector<CheckpointInfo> select_checkpoints(std::span<const CheckpointInfo> checkpoints,
                                               const FindOptions& options);

/// What to keep. Each criterion protects its best `num_to_keep` among the candidates.
struct KeepOptions {
  int num_to_keep = 1;      ///< 0 keeps no candidate; negative is an error.
  bool keep_recent = true;  ///< The newest are one criterion.
  std::vector<CheckpointImportance> importance_keys = {};
  std::vector<std::string> max_keys = {};
  std::vector<std::string> min_keys = {};
  CheckpointPredicate ckpt_predicate = {};  ///< Which checkpoints may be deleted; none: all.
  std::size_t keep_every = 0;  ///< Beside: every checkpoint whose id is a multiple of it; 0: none.
  /// Beside: every checkpoint saved less than this long ago, by the wall clock. A clock that was
  /// set forward makes checkpoints look older than they are, one set back younger. 0: none;
  /// negative is an error.
  std::chrono::seconds keep_for{0};
  /// What time it is, for `keep_for` alone; empty: the system's clock.
  std::function<std::chrono::system_clock::time_point()> clock = {};
};

/// Why a checkpoint stays or goes.
struct RetentionDecision {
  CheckpointInfo checkpoint = {};
  std::string rule = {};  ///< For people, e.g. "best 2 by min loss", "pinned", "not protected".
};

/// What a retention rule decides, newest first in each list.
struct RetentionPlan {
  std::vector<RetentionDecision> kept = {};
  std::vector<RetentionDecision> deleted = {};
  /// Why nothing is deleted although something might be; see `plan_retention_or_keep_all`.
  std::string problem = {};
};

/// Decides what goes and what stays; changes nothing.
///
/// A candidate is accepted by the predicate and ranked by at least one criterion: `keep_recent`,
/// each importance function, each key. Each criterion protects its best `num_to_keep` candidates;
/// overlaps are not topped up; the other candidates go. `keep_every` and `keep_for` protect beside
/// the criteria, and rank nothing. Pinned checkpoints stay, and take their places among the best.
/// Checkpoints known to be damaged protect nothing and count for nothing; they go once
/// `num_to_keep` intact candidates exist.
/// Errors: invalid_argument for a negative `num_to_keep` or `keep_for`, and for a key as in
/// `select_checkpoints`.
RetentionPlan plan_retention(std::span<const CheckpointInfo> checkpoints,
                             const KeepOptions& options);

/// The same for a save, which must not be lost because of what it would delete: where a key cannot
/// rank, because no checkpoint has it or something else than a number stands under it, this keeps
/// all, and `problem` says why. A mistyped key then costs space, not the best checkpoints.
/// Errors: invalid_argument for a negative `num_to_keep` or `keep_for`.
RetentionPlan plan_retention_or_keep_all(std::span<const CheckpointInfo> checkpoints,
                                         const KeepOptions& options);

}  // namespace cairn
