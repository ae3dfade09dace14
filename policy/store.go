package policy

import (
	"context"
	"strconv"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
)

// store is OPA's view of data during one evaluation: the documents that the policies bring along, and the inventory that the request
// carries. It is read-only and has no state of its own: what is read depends on the transaction alone.
type store struct {
	storage.WritesNotSupported
	storage.PolicyNotSupported
	storage.TriggersNotSupported
	static ast.Object // may be nil
}

// view is a transaction: the store with one inventory.
type view struct{ root ast.Value }

// ID is the same for all: views are never compared.
func (view) ID() uint64 { return 0 }

func newStore(static map[string]any) (*store, error) {
	if static == nil {
		static = map[string]any{}
	}
	v, err := ast.InterfaceToValue(static)
	if err != nil {
		return nil, err
	}
	return &store{static: v.(ast.Object)}, nil
}

// with is a transaction that also shows data.inventory.
func (s *store) with(inventory ast.Value) view {
	if inventory == nil {
		return view{root: s.static}
	}
	root := ast.NewObject(pair(reservedLib, ast.NewTerm(inventory)))
	s.static.Foreach(func(k, v *ast.Term) { root.Insert(k, v) })
	return view{root: root}
}

// NewTransaction implements storage.Store.
func (s *store) NewTransaction(context.Context, ...storage.TransactionParams) (storage.Transaction, error) {
	return s.with(nil), nil
}

// Read implements storage.Store.
func (s *store) Read(_ context.Context, txn storage.Transaction, path storage.Path) (any, error) {
	v := txn.(view).root
	for i, key := range path {
		var next *ast.Term
		switch x := v.(type) {
		case ast.Object:
			next = x.Get(ast.StringTerm(key))
		case *ast.Array:
			if n, err := strconv.Atoi(key); err == nil && n >= 0 && n < x.Len() {
				next = x.Elem(n)
			}
		}
		if next == nil {
			return nil, &storage.Error{Code: storage.NotFoundErr, Message: path[:i+1].String()}
		}
		v = next.Value
	}
	return v, nil
}

// Commit implements storage.Store.
func (s *store) Commit(context.Context, storage.Transaction) error { return nil }

// Abort implements storage.Store.
func (s *store) Abort(context.Context, storage.Transaction) {}

// Truncate implements storage.Store.
func (s *store) Truncate(context.Context, storage.Transaction, storage.TransactionParams, storage.Iterator) error {
	return &storage.Error{Code: storage.WritesNotSupportedErr, Message: "policies do not write"}
}
