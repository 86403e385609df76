// Runs the tool as users do: a process with arguments, an exit code and two streams.
#pragma once

#include "cli/child.h"
#include "interop/safetensors_file.h"
#include "support/scratch.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace cairn::testing {

struct ToolResult {
  int code = -1;  // 128 + n: killed by signal n.
  std::string out = {};
  std::string err = {};

  nlohmann::json json() const { return nlohmann::json::parse(out); }
};

/// Where a run's standard output goes.
enum class Stdout { kCaptured, kClosed, kFullDisk, kBrokenPipe };

class ToolTest : public ::testing::Test {
 protected:
  ToolTest() { ::unsetenv("NO_COLOR"); }

  ToolResult cairn(const std::vector<std::string>& arguments, Stdout out = Stdout::kCaptured) {
    const std::string out_path = dir_ / ".stdout";
    const std::string err_path = dir_ / ".stderr";
    const auto open_to_write = [](const char* path) {
      return ::open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    };
    const Descriptor err(open_to_write(err_path.c_str()));
    std::optional<Descriptor> to;
    if (out == Stdout::kBrokenPipe) {
      int ends[2] = {-1, -1};
      if (::pipe(ends) != 0) throw std::runtime_error("cannot make a pipe");
      ::close(ends[0]);
      to.emplace(ends[1]);
    } else if (out != Stdout::kClosed) {
      to.emplace(open_to_write(out == Stdout::kFullDisk ? "/dev/full" : out_path.c_str()));
    }
    Child child(arguments, {.out = to ? to->number() : Child::kClosed, .err = err.number()});
    const int code = child.wait();
    return {.code = code,
            .out = out == Stdout::kCaptured ? read_text(out_path) : "",
            .err = read_text(err_path)};
  }

  /// A run that must succeed.
  ToolResult done(const std::vector<std::string>& arguments) {
    ToolResult result = cairn(arguments);
    EXPECT_EQ(result.code, 0) << ::testing::PrintToString(arguments) << "\n" << result.err;
    return result;
  }

  /// A run that must fail with this exit code, one line on stderr that holds `part`, and nothing on
  /// stdout.
  void expect_failure(int code, std::string_view part, const std::vector<std::string>& arguments) {
    const ToolResult result = cairn(arguments);
    EXPECT_EQ(result.code, code) << result.err;
    EXPECT_EQ(result.out, "");
    EXPECT_TRUE(result.err.starts_with("cairn: ")) << result.err;
    EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
    EXPECT_NE(result.err.find(part), std::string::npos) << result.err;
  }

  /// A file with one tensor "w" of the given bytes.
  std::string safetensors(std::string_view data = "abcd") {
    const std::string length = std::to_string(data.size());
    return write_text(dir_ / "in.safetensors",
                      safetensors_bytes(R"({"w":{"dtype":"U8","shape":[)" + length +
                                            R"(],"data_offsets":[0,)" + length + "]}}",
                                        data));
  }

  /// Saves a checkpoint with that tensor; more options may follow.
  nlohmann::json import(const std::vector<std::string>& options = {},
                        std::string_view data = "abcd") {
    std::vector<std::string> arguments = {"import", store_, safetensors(data), "--json"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const ToolResult result = done(arguments);
    return result.code == 0 ? result.json() : nlohmann::json();
  }

  /// As the overview lists them.
  std::vector<std::string> all_commands() {
    std::vector<std::string> commands;
    std::istringstream lines(done({"--help"}).out);
    bool inside = false;
    for (std::string line; std::getline(lines, line);) {
      if (inside && line.empty()) break;
      if (inside) commands.push_back(line.substr(2, line.find(' ', 2) - 2));
      inside = inside || line == "Commands:";
    }
    EXPECT_GE(commands.size(), 21U);
    return commands;
  }

  std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const auto& checkpoint : done({"ls", store_, "--json"}).json()) {
      names.push_back(checkpoint.at("name"));
    }
    return names;
  }

  ScratchDirectory dir_;
  std::string store_ = dir_ / "store";
};

using Names = std::vector<std::string>;

}  // namespace cairn::testing
