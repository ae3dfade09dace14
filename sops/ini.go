package sops

import (
	"bytes"
	"strings"

	"gopkg.in/ini.v1"
)

// iniOptions are those of SOPS.
func iniOptions() ini.LoadOptions { return ini.LoadOptions{AllowNonUniqueSections: true} }

// readINI reads sections of keys, with the library that SOPS reads and writes them with: what it takes for one value is what counts.
func readINI(data []byte) (branches []branch, err error) {
	defer func() {
		if recover() != nil {
			err = errorf(0, "no INI")
		}
	}()
	f, err := ini.LoadSources(iniOptions(), data)
	if err != nil {
		return nil, errorf(0, "no INI") // the library's text could quote a value
	}
	var all branch
	for _, section := range f.Sections() {
		below := iniComment(nil, section.Comment)
		for _, key := range section.Keys() {
			below = append(below, item{key: key.Name(), value: key.Value()})
			below = iniComment(below, key.Comment)
		}
		all = append(all, item{key: section.Name(), value: below})
	}
	return []branch{all}, nil
}

// iniComment adds a comment without the sign that begins it, where there is one.
func iniComment(b branch, text string) branch {
	if text == "" {
		return b
	}
	for _, sign := range []string{";", "#"} {
		if strings.HasPrefix(text, sign) {
			text = strings.TrimLeft(text, sign+" ")
			break
		}
	}
	return append(b, item{key: text, comment: true})
}

func (f *File) emitINI() ([]byte, error) {
	out := ini.Empty(iniOptions())
	out.DeleteSection(ini.DefaultSection)
	for _, b := range f.branches {
		for _, it := range b {
			below, ok := it.value.(branch)
			if !ok {
				return nil, errorf(0, "%s is no section", it.key)
			}
			section, err := out.NewSection(it.key)
			if err != nil {
				return nil, errorf(0, "a section that cannot be written as INI")
			}
			var last *ini.Key
			for i, it := range below {
				switch text, isText := it.value.(string); {
				case it.comment && i == 0:
					section.Comment = it.key
				case it.comment && last != nil:
					last.Comment = it.key
				case it.comment:
				case !isText:
					return nil, errorf(0, "%s is not text", it.key)
				default:
					if last, err = section.NewKey(it.key, text); err != nil {
						return nil, errorf(0, "a key that cannot be written as INI")
					}
				}
			}
		}
	}
	var buf bytes.Buffer
	if _, err := out.WriteTo(&buf); err != nil {
		return nil, errorf(0, "it cannot be written as INI")
	}
	return buf.Bytes(), nil
}
