#include "output.h"

#include "text.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

namespace cairn::cli {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{64} << 10;

bool is_open(int descriptor) {
  const int copy = ::dup(descriptor);
  if (copy < 0) return errno != EBADF;
  ::close(copy);
  return true;
}

bool wants_color() {
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return false;
  const char* term = std::getenv("TERM");
  return term != nullptr && std::string_view(term) != "dumb";
}

// 0 when the descriptor is no terminal.
std::size_t columns_of(int descriptor) {
  if (::isatty(descriptor) == 0) return 0;
  winsize size{};
  const bool known = ::ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

// 0, or what the system says is wrong.
int write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

}  // namespace

void prepare_standard_streams() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the length of files is an error, too
  std::vector<int> closed;
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (!is_open(descriptor)) closed.push_back(descriptor);
  }
  if (closed.empty()) return;
  // The reading end of a pipe: to write to it fails, as it did before.
  int ends[2] = {-1, -1};
  if (::pipe(ends) != 0) return;
  for (const int descriptor : closed) {
    if (descriptor != ends[0]) ::dup2(ends[0], descriptor);
  }
  for (const int end : ends) {
    if (end > STDERR_FILENO) ::close(end);
  }
}

Output::Output() : columns_(columns_of(STDOUT_FILENO)) {
  color_ = columns_ > 0 && wants_color();
  const char* term = std::getenv("TERM");
  const bool can_erase = term != nullptr && std::string_view(term) != "dumb";
  status_columns_ = can_erase ? columns_of(STDERR_FILENO) : 0;
}

void Output::write(std::string_view text) {
  buffer_ += text;
  if (buffer_.size() >= kBufferBytes) flush();
}

void Output::line(std::string_view text) {
  write(text);
  write("\n");
}

void Output::flush() {
  if (columns_ > 0) clear_status();  // what comes would stand behind it
  const int problem = write_all(STDOUT_FILENO, buffer_);
  buffer_.clear();
  if (problem != 0) throw OutputFailed{problem};
}

void Output::note(std::string_view text) {
  if (quiet_) return;
  // What went to stdout before stands before it on a terminal too.
  if (columns_ > 0) flush();
  clear_status();
  write_all(STDERR_FILENO, printable(text) + "\n");
}

void Output::show_status(std::string_view text) {
  if (!shows_status()) return;
  const std::string line = cut_to_width(printable(text), status_columns_ - 1);
  write_all(STDERR_FILENO, "\r" + line + "\033[K");
  has_status_ = true;
}

void Output::clear_status() {
  if (!has_status_) return;
  write_all(STDERR_FILENO, "\r\033[K");
  has_status_ = false;
}

std::string Output::styled(std::string_view text, Style style) const {
  if (!color_) return std::string(text);
  const std::string_view code = style == Style::kHeading ? "\033[1m"
                                : style == Style::kGood  ? "\033[32m"
                                                         : "\033[31m";
  return std::string(code) + std::string(text) + "\033[0m";
}

void print_error(std::string_view message) {
  write_all(STDERR_FILENO, "cairn: " + printable(message) + "\n");
}

// Text gives way where it is widest; numbers never do.
void Table::fit(std::vector<std::size_t>& widths, std::size_t columns) const {
  constexpr std::size_t kNarrowest = 8;
  std::size_t total = 2 * (widths.size() - 1);
  for (const std::size_t width : widths) total += width;
  for (; total > columns; --total) {
    std::size_t* widest = nullptr;
    for (std::size_t i = 0; i < widths.size(); ++i) {
      if (columns_[i].align == Align::kRight || widths[i] <= kNarrowest) continue;
      if (widest == nullptr || widths[i] >= *widest) widest = &widths[i];
    }
    if (widest == nullptr) return;
    --*widest;
  }
}

void Table::print(Output& output) const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(display_width(column.heading));
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i]));
    }
  }
  if (output.terminal_columns() > 0) fit(widths, output.terminal_columns());

  const auto compose = [&](const auto& cell_of) {
    std::string text;
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const bool last = i + 1 == columns_.size();
      const std::string cell = cut_to_width(cell_of(i), widths[i]);
      const std::string padding(widths[i] - std::min(widths[i], display_width(cell)), ' ');
      if (columns_[i].align == Align::kRight) {
        text += padding + cell;
      } else {
        text += cell + (last ? "" : padding);
      }
      if (!last) text += "  ";
    }
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
  };
  const std::string headings = compose([&](std::size_t i) { return columns_[i].heading; });
  output.line(output.styled(headings, Style::kHeading));
  for (const auto& row : rows_) {
    output.line(compose([&](std::size_t i) { return std::string_view(row[i]); }));
  }
}

}  // namespace cairn::cli
