// Workloads: sequences of operations on a store, run under the recorder, with what the store must
// hold after each.
#pragma once

#include "crash/event_log.h"
#include "crash/model.h"
#include "crash/recorder.h"

#include <cstdint>
#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::crash {

/// Every workload begins by making the store, two directories below the recorded one.
inline constexpr std::string_view kStorePath = "jobs/store";

enum class Operation {
  kSaveNew,
  kSaveUnchanged,
  kSaveChangingSome,
  kSaveLarge,  // of several chunks, and longer records
  kKeepOnly,   // saves, and keeps the newest two, in one commit
  kDelete,     // the oldest
  kPin,        // the newest, or ends that
  kReplace,    // the newest, under its name
  kReuse,      // deletes the oldest, then saves into its extents
  kAbort,      // a save whose commit fails after the slot was written
  kCompact,
  kReopen,
  kRead,  // opens the newest for reading, and reads it again after every operation from then on
  kLoseCatalog,  // closes, removes the catalog and opens
  kSaveAsync,    // goes on behind whatever comes next
  kSaveDirect,   // of more than a MiB, which is written past the page cache
  kCopy,         // takes in a checkpoint of another store
  kHeal,      // saves, lets two chunks rot, finds that by a scrub, saves the same: mended in place
  kCompress,  // closes, and opens so that new chunks are compressed from then on
};
inline constexpr Operation kOperations[] = {
    Operation::kSaveNew,    Operation::kSaveUnchanged, Operation::kSaveChangingSome,
    Operation::kKeepOnly,   Operation::kDelete,        Operation::kPin,
    Operation::kReplace,    Operation::kReuse,         Operation::kAbort,
    Operation::kCompact,    Operation::kReopen,        Operation::kRead,
    Operation::kSaveLarge,  Operation::kLoseCatalog,   Operation::kSaveAsync,
    Operation::kSaveDirect, Operation::kCopy,          Operation::kHeal,
    Operation::kCompress};

std::string_view name_of(Operation operation);
std::string describe(std::span<const Operation> operations);
std::vector<Operation> random_operations(std::size_t count, std::mt19937_64& random);

/// A workload that has run.
///
/// The log's notes are "begin N", when a change begins that leads to `models[N]`; "abort N", when
/// one begins whose commit will fail; "done N" and "failed N", when the call has returned or
/// thrown, or the future is ready; "opened", when the store was opened and what an abort may have
/// left is superseded; "rot N", when chunks are damaged that saving `states[N]` mends; and
/// "healed", when such a save was acknowledged. Changes that begin while an asynchronous save is in
/// flight come after it: a crash leaves a beginning of their list.
struct Recording {
  EventLog log{};
  std::vector<Model> models{};
  std::vector<CheckpointState> states{};
  std::uint64_t direct_writes = 0;
  std::string failure{};  // what went wrong before any crash, such as a reader's wrong bytes
};

/// Runs a workload in an empty directory. The same operations give the same log.
Recording record(std::span<const Operation> operations, const std::filesystem::path& directory,
                 const Interference& interference = {});

/// Goes on with what a crash has left: opens the store that is there, and runs a workload. The log
/// begins with what is there; "done 0" stands behind the opening, and `models[0]` is what it found.
Recording record_again(std::span<const Operation> operations,
                       const std::filesystem::path& directory);

}  // namespace cairn::crash
