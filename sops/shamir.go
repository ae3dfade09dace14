package sops

// combine puts a data key together from shares of it (Shamir's secret sharing over GF(2^8), byte by byte): each share is a value of a polynomial for
// each byte of the key, and ends with the place of these values; the key is their value at nought. nil if the shares do not belong together. Fewer
// shares than it takes give another key, which the values and the MAC of a file then refuse.
func combine(shares [][]byte) []byte {
	key := make([]byte, dataKeySize)
	for i, share := range shares {
		if len(share) != dataKeySize+1 {
			return nil
		}
		x := share[dataKeySize]
		weight := byte(1) // of the share: Lagrange's basis polynomial at nought
		for j, other := range shares {
			if i == j {
				continue
			}
			if len(other) != dataKeySize+1 || other[dataKeySize] == x {
				return nil
			}
			weight = multiply(weight, multiply(other[dataKeySize], inverse(x^other[dataKeySize])))
		}
		for b := range key {
			key[b] ^= multiply(weight, share[b])
		}
	}
	return key
}

// multiply multiplies in the field of AES, in time that does not hang on the factors.
func multiply(a, b byte) byte {
	const modulus = 0x1b // x^8 + x^4 + x^3 + x + 1, without its first term
	var product byte
	for range 8 {
		product ^= a & -(b & 1)
		a = a<<1 ^ modulus&-(a>>7)
		b >>= 1
	}
	return product
}

// inverse is a to the 254th power: all but nought have an inverse.
func inverse(a byte) byte {
	power := byte(1)
	for range 7 {
		a = multiply(a, a)
		power = multiply(power, a)
	}
	return power
}
