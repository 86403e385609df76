// Faults on purpose, to see whether the tests would notice them (tests/crash/mutants/). Only one
// test program is built with CAIRN_MUTANTS; everywhere else CAIRN_MUTANT(x) is the constant false
// and leaves no trace.
#pragma once

#ifdef CAIRN_MUTANTS

namespace cairn::base {

enum class Mutant {
  kNone,
  kCommitBeforeFlush,
  kUncheckedRoot,
  kNoSuperseding,
  kCommittedSlotOverwritten,
  kReuseOneCommitTooEarly,
  kReuseUnderReader,
  kHitOnRowWithoutReferences,
  kTruncationBeforeCommit,
  kRebuildUnderOpenHandle,
  kOneRootCopy,
  kRowChecksumsIgnored,
  kRowSumIgnored,
  kRowSumNotKept,
  kChunkDigestsIgnored,
  kAcknowledgedBeforeCommit,
  kAsyncSaveOvertaken,
  kHealedAfterFlush,
  kChangedTensorsSaved,
  kSuperblocksAtOnce,
};

inline Mutant active_mutant = Mutant::kNone;

}  // namespace cairn::base

#define CAIRN_MUTANT(name) (::cairn::base::active_mutant == ::cairn::base::Mutant::name)

#else

#define CAIRN_MUTANT(name) false

#endif
