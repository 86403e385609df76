// What a store is doing when a call fails.
#pragma once

#include "support/states.h"

#include <cairn/store.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::fault {

/// What a store holds, by name.
struct Held {
  testing::Contents contents{};  // none for a checkpoint that is damaged
  bool pinned = false;
  bool damaged = false;
  friend bool operator==(const Held&, const Held&) = default;
};
using State = std::map<std::string, Held>;
State state_of(const Store& store);

/// A store's directory and, in most scenarios, an open handle. All that the test itself needs is
/// made before a call may fail.
struct Session {
  explicit Session(std::filesystem::path at);

  std::filesystem::path directory;
  std::optional<Store> store{};
  std::optional<Checkpoint> checkpoint{};
  CheckpointState state{};
  SaveOptions options{};
  std::vector<std::uint64_t> ids{};
  std::vector<testing::Bytes> memory{};
  std::vector<LoadTarget> targets{};
  std::filesystem::path file{};
};

struct Scenario {
  std::string_view name;
  /// Makes the directory as it is before.
  void (*prepare)(const std::filesystem::path& directory);
  /// Opens what the operation needs; nothing fails yet.
  void (*begin)(Session& session);
  /// The operation. What it opens it leaves in the session.
  void (*run)(Session& session);
  /// Whether the store's files stay as they are.
  bool only_reads = false;
  /// Whether a failure leaves a store that only `Store::repair` opens.
  bool needs_repair = false;
  /// Whether what is damaged before may be whole after a failure as well.
  bool mends = false;
  /// What a file or store of the scenario's own holds: the state before or the one after, and that
  /// one when the operation runs again.
  State (*held_besides)(const std::filesystem::path& directory) = nullptr;
  /// Whether a failure may leave a part of that, each checkpoint whole.
  bool goes_in_steps = false;
};

const std::vector<Scenario>& scenarios();

/// Another state to save, different from all that the scenarios save.
CheckpointState other_state();

}  // namespace cairn::fault
