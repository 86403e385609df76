// The rows of the table: what is measured, against which floor and which peers.
#pragma once

#include "floors.h"
#include "measure.h"
#include "peers.h"

#include <cairn/state.h>
#include <cairn/store.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace cairn::bench {

struct Settings {
  std::filesystem::path directory{};  // where stores and floors' files are made
  std::filesystem::path program{};    // this program, for rows that need a process of their own
  std::uint64_t bytes = 0;            // of the large states
  int rounds = 0;
  bool quick = false;  // everything small, once: shows that it runs, not how fast
  const Peers* peers = nullptr;
  std::filesystem::path weights{};  // a file of a trained model's; empty: row 13 is left out
};

/// A model in memory that was touched: one recoverable with tensors of equal length, which begin 64
/// bytes behind a page boundary, as tensors of a training job do.
class Model {
 public:
  Model(std::uint64_t bytes, std::uint64_t tensor_bytes);
  const CheckpointState& state() const noexcept { return state_; }
  std::span<std::byte> tensor(std::size_t i) const;
  std::size_t tensor_count() const noexcept { return state_[0].tensors.size(); }
  std::span<std::byte> bytes() const;
  /// Changes bytes in every 32 KiB, so that no chunk stays as it was.
  void change_all() { change_first(tensor_count()); }
  /// The same in the first tensors only.
  void change_first(std::size_t tensors);

 private:
  std::uint64_t tensor_bytes_;
  std::uint64_t bytes_;
  Memory memory_;
  CheckpointState state_;
  std::uint64_t stamp_ = 0;
};

/// Keeps the newest `count`.
RetentionCallback keep_newest(std::size_t count);

using RowFunction = std::function<Row(const Settings&)>;
struct RowEntry {
  std::string number{};
  RowFunction run{};
};
std::vector<RowEntry> save_rows();
std::vector<RowEntry> load_rows();
std::vector<RowEntry> scale_rows();
std::vector<RowEntry> space_rows();

/// What `--memory-of WHAT` prints in a process of its own: bytes above the model.
int memory_of(const std::string& what, const Settings& settings);

}  // namespace cairn::bench
