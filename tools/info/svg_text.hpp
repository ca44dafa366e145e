// Text in a drawing: how wide it gets, and where to break it.
#pragma once

#include <string>
#include <vector>

namespace efa {

std::string escaped(const std::string& text);

// Width in units of the drawing, at a font size of `size`. An upper bound for the common sans-serif fonts: the viewer's
// font is not known, so it goes by the widest of them, DejaVu Sans.
int text_width(const std::string& text, int size, bool bold = false);

// Lines of at most `width`, broken between words.
std::vector<std::string> wrapped(const std::string& text, int size, int width);

}  // namespace efa
