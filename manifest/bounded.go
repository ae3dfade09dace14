package manifest

import (
	"fmt"
	"strings"
	"text/template"
)

// Bounds of what one call of a template function makes. Sprig has none: until 1000000000 alone takes 8 GB.
const (
	maxRange = 100_000
	maxText  = 4 << 20
)

// Bounds of what all calls of one rendering make together: loops within loops call them again and again.
const (
	maxNumbers = 5_000_000
	maxTexts   = 64 << 20
)

// boundedFunctions stand in for those of sprig's functions that make much of little.
// Each rendering has its own.
func boundedFunctions() template.FuncMap {
	numbers, texts := 0, 0
	untilStep := func(start, stop, step int) ([]int, error) {
		list, err := untilStep(start, stop, step)
		if numbers += len(list); err == nil && numbers > maxNumbers {
			err = fmt.Errorf("ranges of more than %d numbers together", maxNumbers)
		}
		return list, err
	}
	return template.FuncMap{
		"until": func(count int) ([]int, error) {
			step := 1
			if count < 0 {
				step = -1
			}
			return untilStep(0, count, step)
		},
		"untilStep": untilStep,
		"seq": func(params ...int) (string, error) {
			start, step := 1, 1
			switch len(params) {
			case 0:
				return "", nil
			case 1:
				if params[0] < start {
					step = -1
				}
			case 2:
				if start = params[0]; params[1] < start {
					step = -1
				}
			case 3:
				start, step = params[0], params[1]
			default:
				return "", nil
			}
			list, err := untilStep(start, params[len(params)-1]+sign(step), step)
			return strings.Trim(fmt.Sprint(list), "[]"), err
		},
		"repeat": func(count int, s string) (string, error) {
			if count < 0 || len(s) > 0 && count > maxText/len(s) {
				return "", fmt.Errorf("repeat %d: more than %d bytes", count, maxText)
			}
			if texts += count * len(s); texts > maxTexts {
				return "", fmt.Errorf("repeat: more than %d bytes together", maxTexts)
			}
			return strings.Repeat(s, count), nil
		},
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func untilStep(start, stop, step int) ([]int, error) {
	list := []int{}
	if step == 0 || (stop-start > 0) != (step > 0) {
		return list, nil
	}
	if (stop-start)/step > maxRange {
		return nil, fmt.Errorf("a range of more than %d numbers", maxRange)
	}
	for i := start; i != stop && (i < stop) == (step > 0); i += step {
		list = append(list, i)
	}
	return list, nil
}
