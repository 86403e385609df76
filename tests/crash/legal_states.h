// What a store may hold after a crash, by the notes of an event log.
#pragma once

#include "crash/event_log.h"

#include <cstddef>
#include <optional>
#include <vector>

namespace cairn::crash {

/// What may be found after a crash.
struct Legal {
  std::vector<std::size_t> models{};                  // by their number
  std::vector<std::size_t> models_without_catalog{};  // when the catalog is lost, too
  bool store_exists = false;                          // making it was acknowledged
  std::optional<std::size_t> rot{};  // a chunk is rotten, and saving this state mends it
};

/// Follows a log's notes (see `Recording`).
class LegalStates {
 public:
  void apply(const Event& event);
  Legal now() const;

 private:
  std::size_t acknowledged_ = 0;
  std::vector<std::size_t> in_flight_{};  // in the order of their calls
  bool will_fail_ = false;
  std::vector<std::size_t> doubtful_{};  // failed, and not superseded yet
  bool store_exists_ = false;
  std::optional<std::size_t> rot_{};
};

}  // namespace cairn::crash
