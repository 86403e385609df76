// Other checkpoint formats, in processes of their own that stay between measurements.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace cairn::bench {

/// One process that speaks the protocol of bench/peers/peers.py.
class PeerProcess {
 public:
  /// Starts `command`, with `bytes` and `directory` behind it. What it cannot measure is missing
  /// from `names`, and said on standard error.
  PeerProcess(const std::vector<std::string>& command, const std::filesystem::path& directory,
              std::uint64_t bytes);
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  const std::vector<std::string>& names() const noexcept { return names_; }
  double ask(const char* verb, const std::string& name) const;

 private:
  std::string read_line() const;

  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
  int process_ = -1;
  std::vector<std::string> names_{};
};

class Peers {
 public:
  void start(const std::vector<std::string>& command, const std::filesystem::path& directory,
             std::uint64_t bytes);

  const std::vector<std::string>& names() const noexcept { return names_; }
  double save(const std::string& name) const { return ask("save", name); }
  double load(const std::string& name) const { return ask("load", name); }
  void forget(const std::string& name) const { ask("forget", name); }

 private:
  double ask(const char* verb, const std::string& name) const;

  std::vector<std::unique_ptr<PeerProcess>> processes_{};
  std::vector<std::string> names_{};
};

}  // namespace cairn::bench
